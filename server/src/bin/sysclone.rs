//! The command line `sysclone`. Wiring only.

use std::process::ExitCode;

fn main() -> ExitCode {
    sysclone_server::cli::run(std::env::args_os())
}
