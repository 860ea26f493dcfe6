//! The manners of the three programs as processes: exit statuses, one line for a usage error.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use harness::claim::prove;
use harness::process::binary;
use harness::registry::Registry;
use harness::services::Drayage;

fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(binary(program)?).args(arguments).env_clear().output()?)
}

#[test]
fn usage_error_is_status_2_and_one_line() {
    prove(async {
        let mistakes: [&[&str]; 3] = [&[], &["--no-such-flag"], &["--shutdown-grace", "soon"]];
        for program in ["drayage-api", "drayage-syncer", "drayage-webhook"] {
            for mistake in mistakes {
                let output = run(program, mistake)?;
                let complaint = String::from_utf8(output.stderr)?;
                ensure!(output.status.code() == Some(2), "{program} {mistake:?}: {complaint}");
                ensure!(complaint.trim_end().lines().count() == 1, "{program}: {complaint}");
            }
        }
        Ok(())
    });
}

#[test]
fn version_names_the_program_and_its_commit() {
    prove(async {
        for program in ["drayage-api", "drayage-syncer", "drayage-webhook"] {
            let version = String::from_utf8(run(program, &["--version"])?.stdout)?;
            ensure!(version.starts_with(&format!("{program} 0.1.0 (")), "{version}");
        }
        Ok(())
    });
}

#[test]
fn stop_is_clean() {
    prove(async {
        let source = Registry::open().await?;
        let mut drayage = Drayage::over(&source).start().await?;
        for service in [&mut drayage.webhook, &mut drayage.syncer, &mut drayage.api] {
            let status = service.terminate().await?;
            ensure!(status.code() == Some(0), "{status}: {}", service.log());
        }
        Ok(())
    });
}
