//! Completion scripts and man pages, made from the command table.

use std::{path::Path, process::ExitCode, str::FromStr};

/// Prints a shell's completion script.
pub fn completion(shell: &str) -> ExitCode {
    match clap_complete::Shell::from_str(shell) {
        Ok(shell) => {
            clap_complete::generate(shell, &mut cli::definition(), "roost", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Err(_) => {
            let message = format!("{shell:?} is not a shell: use bash, elvish, fish, powershell or zsh");
            cli::fail(&api::Error::usage(message))
        }
    }
}

/// Writes a man page for each command.
pub fn man(folder: &Path) -> ExitCode {
    match std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(cli::definition(), folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(&api::Error::failed(format!("cannot write man pages into {}: {error}", folder.display()))),
    }
}
