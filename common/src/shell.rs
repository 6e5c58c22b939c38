//! What a shell and `man` want to know of a program: completions and manual pages, made of its command line.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command, Subcommand};
use clap_complete::Shell;

/// The commands that every program has for it.
#[derive(Debug, Subcommand)]
pub enum ShellCommand {
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Write a manual page for every command
    Man(ManArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  anofpdm completions bash > ~/.local/share/bash-completion/completions/anofpdm"
)]
pub struct CompletionsArgs {
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anofpdm man ~/.local/share/man/man1 && man anofpdm-run")]
pub struct ManArgs {
    /// Folder for the pages; made where it is missing
    folder: PathBuf,
}

/// Does it for the program whose command line this is.
///
/// # Errors
/// When stdout or the folder cannot be written.
pub fn run(args: &ShellCommand, mut program: Command) -> io::Result<()> {
    match args {
        ShellCommand::Completions(args) => {
            let name = program.get_name().to_owned();
            let mut text = Vec::new();
            clap_complete::generate(args.shell, &mut program, name, &mut text);
            io::stdout().write_all(&text)
        }
        ShellCommand::Man(args) => {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", args.folder.display()))
            };
            std::fs::create_dir_all(&args.folder).map_err(named)?;
            clap_mangen::generate_to(program, &args.folder).map_err(named)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        Command::new("program")
            .about("Does things")
            .subcommand(Command::new("run").about("Does one"))
            .subcommand(Command::new("secret").hide(true))
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("man1");
        let args = ShellCommand::Man(ManArgs {
            folder: pages.clone(),
        });
        run(&args, program()).unwrap();
        let page = std::fs::read_to_string(pages.join("program-run.1")).unwrap();
        assert!(page.contains("Does one"), "{page}");
        assert!(pages.join("program.1").is_file());
        assert!(!pages.join("program-secret.1").exists());

        std::fs::write(folder.path().join("file"), "").unwrap();
        let folder = folder.path().join("file");
        let error = run(&ShellCommand::Man(ManArgs { folder }), program()).unwrap_err();
        assert!(error.to_string().contains("file: "), "{error}");
    }
}
