//! `config`, `completions`, `man` and `openapi`.

use std::io;

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

/// Prints a manual page, or writes all of them.
///
/// # Errors
/// There is no such page, or the pages cannot be written.
pub fn man(command: &args::Man) -> Result<Exit, Failure> {
    let of_bug = |error: io::Error| Failure::new(Exit::Bug, error.to_string());
    let program = Args::command();
    if let Some(directory) = &command.dir {
        std::fs::create_dir_all(directory).on_path("make", directory)?;
        manual::write_pages(&program, directory).on_path("write the pages to", directory)?;
        return Ok(Exit::Ok);
    }
    let wanted = command.page.as_deref().unwrap_or_else(|| program.get_name());
    if let Some(page) = manual::page(&program, wanted).map_err(of_bug)? {
        output::raw(page.text.as_bytes())?;
        return Ok(Exit::Ok);
    }
    let pages = manual::pages(&program).map_err(of_bug)?;
    let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
    let long = format!("{}-{wanted}", program.get_name());
    let near =
        config::near(wanted, names.iter().copied()).or_else(|| config::near(&long, names.iter().copied()));
    let hint = near.map_or_else(
        || format!("there are: {}", names.join(", ")),
        config::did_you_mean,
    );
    let message = format!("there is no manual page {wanted:?}; {hint}");
    Err(Failure::new(Exit::Usage, message))
}

/// Prints the OpenAPI document as JSON.
///
/// # Errors
/// Standard output cannot be written.
pub fn openapi() -> Result<Exit, Failure> {
    output::human(|out| out.write_all(crate::api::router::json().as_bytes()))?;
    Ok(Exit::Ok)
}
