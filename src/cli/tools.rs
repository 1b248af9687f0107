//! `config`, `completions`, `man` and `openapi`.

use clap::CommandFactory;

use super::args::{self, Args, ConfigCommand, Global};
use super::exit::{Exit, Failure, OnPath};
use super::print::output;
use super::settings;
use super::{completions, manual};
use crate::config::{self, Settings};

/// Shows the configuration.
///
/// # Errors
/// The configuration is invalid.
pub fn config(global: &Global, command: &args::Config) -> Result<Exit, Failure> {
    match command.command {
        ConfigCommand::Schema => output::json(&config::schema())?,
        ConfigCommand::Example => output::raw(Settings::example_toml().as_bytes())?,
        ConfigCommand::Show { origin } => {
            let settings = settings::settings(global)?;
            match (global.json, origin) {
                (true, true) => output::json(&settings::described(&settings))?,
                (true, false) => output::json(&settings.document())?,
                (false, origin) => output::raw(settings.render(origin).as_bytes())?,
            }
        }
    }
    Ok(Exit::Ok)
}

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output cannot be written to.
pub fn completions(command: &args::Completions) -> Result<Exit, Failure> {
    let script = completions::script(command.shell, &mut Args::command())?;
    output::raw(script.as_bytes())?;
    Ok(Exit::Ok)
}

/// Prints the manual page, or writes all of them.
///
/// # Errors
/// The pages cannot be written.
pub fn man(command: &args::Man) -> Result<Exit, Failure> {
    if let Some(directory) = &command.dir {
        std::fs::create_dir_all(directory).on_path("make", directory)?;
        manual::write_pages(Args::command(), directory).on_path("write the pages to", directory)?;
    } else {
        let page = manual::page(Args::command());
        let page = page.map_err(|error| Failure::new(Exit::Bug, error.to_string()))?;
        output::raw(&page)?;
    }
    Ok(Exit::Ok)
}

/// Prints the OpenAPI document as JSON.
///
/// # Errors
/// Standard output cannot be written.
pub fn openapi() -> Result<Exit, Failure> {
    output::human(|out| out.write_all(crate::api::router::json().as_bytes()))?;
    Ok(Exit::Ok)
}
