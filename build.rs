//! Makes the table of list prices that `src/prices/table.rs` includes; an empty one without the feature `cost`.

use std::path::PathBuf;

#[cfg(feature = "cost")]
#[path = "build/prices.rs"]
mod prices;

#[cfg(feature = "cost")]
fn table() -> String {
    prices::table()
}

#[cfg(not(feature = "cost"))]
fn table() -> String {
    "use super::TableModel;\n\
     pub const VERSION: Option<&str> = None;\n\
     pub static MODELS: &[TableModel] = &[];\n\
     pub static RATES: &[[u32; 6]] = &[];\n\
     pub static NAMES: &[(&str, u16)] = &[];\n"
        .to_owned()
}

#[expect(clippy::disallowed_methods, reason = "so cargo names the directory")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let out = std::env::var_os("OUT_DIR").expect("cargo names a directory");
    std::fs::write(PathBuf::from(out).join("prices.rs"), table()).expect("it can be written");
}
