//! What the programs would say of this environment at their start.

use millrace_shared::config::{Environment, PartialConfig, Problem};

use super::Check;

pub fn checks(config: &PartialConfig) -> Vec<Check> {
    let environment = match config.environment {
        Some(Environment::Production) => "production",
        Some(Environment::Development) => "development",
        None => "of an unknown environment",
    };
    let mut checks: Vec<Check> = config.problems.iter().map(refused).collect();
    if checks.is_empty() {
        checks.push(Check::ok("configuration", format!("complete, for {environment}")));
    }
    if config.environment == Some(Environment::Development) && !config.in_production.is_empty() {
        let found: Vec<String> =
            config.in_production.iter().map(|problem| format!("{} {}", problem.variable, problem.problem)).collect();
        let fix = "none for development; production refuses to start like this";
        checks.push(Check::warning("fit for production", found.join("\n"), fix));
    }
    checks
}

fn refused(problem: &Problem) -> Check {
    let found = format!("{} {}", problem.variable, problem.problem);
    let fix = match problem.example {
        Some(example) => format!("for example {}={example}", problem.variable),
        None => "see docs/configuration.md".to_owned(),
    };
    Check::failed("configuration", found, fix)
}
