//! `sterna completions` and `sterna man`.

use std::path::Path;

use clap::CommandFactory;
use common::code::Code;

use crate::cli::Cli;
use crate::error::{Result, io};

pub fn script(shell: clap_complete::Shell) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sterna", &mut text);
    print(&text)
}

/// The page of `sterna` itself on stdout, or one page a command into `dir`.
pub fn man(dir: Option<&Path>) -> Result<u8> {
    let unwritable = |shown: std::path::Display<'_>, error| io(Code::Usage, shown, &error);
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| unwritable(dir.display(), error))?;
            clap_mangen::generate_to(Cli::command(), dir)
                .map_err(|error| unwritable(dir.display(), error))?;
            Ok(0)
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut text)
                .map_err(|error| io(Code::Internal, "man page", &error))?;
            print(&text)
        }
    }
}

fn print(text: &[u8]) -> Result<u8> {
    use std::io::Write as _;
    { std::io::stdout().lock() }
        .write_all(text)
        .map_err(|error| io(Code::Internal, "stdout", &error))?;
    Ok(0)
}
