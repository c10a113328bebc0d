//! `sterna check`: named checks of both ends, in this process. Changes nothing, keeps nothing.

use common::check::{Check, Verdict};
use common::code::{Code, Failure};
use common::status::API_VERSION;
use globset::GlobMatcher;
use worker::checks;

use crate::cli::{CheckArgs, Global, Output};
use crate::error::{self, Result};
use crate::html::{self, Cell};
use crate::signals::Signals;
use crate::{job, output, telemetry};

pub async fn run(args: CheckArgs, global: &Global, mut signals: Signals) -> Result<u8> {
    let (include, skip) = (globs(&args.include)?, globs(&args.skip)?);
    if let Some(path) = &args.html {
        html::writable(path)?;
    }
    let (spec, secrets) = job::asked(&args.job)?;
    let asking = Box::pin(checks::run(&spec, &secrets));
    let mut checks = tokio::select! {
        checks = asking => checks,
        stop = signals.stop() => return Ok(stop.exit()),
    };
    let wanted = |name: &str| {
        let included = include.is_empty() || include.iter().any(|glob| glob.is_match(name));
        included && !skip.iter().any(|glob| glob.is_match(name))
    };
    checks.retain(|check| wanted(&check.name));
    let exit = match checks::verdict(&checks) {
        Some(Verdict::Failed) => Code::CheckFailed.exit(),
        _ => 0,
    };
    if let Some(path) = &args.html {
        html::write(path, &page(&checks, &spec.source.url, &spec.target.url))?;
    }
    match global.output {
        Output::Json => output::json(&serde_json::json!({
            "api_version": API_VERSION,
            "source": spec.source.url,
            "target": spec.target.url,
            "checks": checks,
            "passed": count(&checks, Verdict::Passed),
            "warnings": count(&checks, Verdict::Warning),
            "failed": count(&checks, Verdict::Failed),
            "exit_code": exit,
        }))?,
        Output::Table => output::line(&text(&checks))?,
    }
    if exit != 0 {
        let named = checks
            .iter()
            .filter(|check| check.verdict == Verdict::Failed);
        let names: Vec<&str> = named.map(|check| check.name.as_str()).collect();
        let failure = Failure::new(Code::CheckFailed, names.join(", "));
        error::lines(&failure, telemetry::color(global));
    }
    Ok(exit)
}

fn globs(patterns: &[String]) -> Result<Vec<GlobMatcher>> {
    let compiled = patterns.iter().map(|pattern| {
        globset::Glob::new(pattern)
            .map(|glob| glob.compile_matcher())
            .map_err(|error| Failure::new(Code::Usage, format!("{pattern:?}: {error}")))
    });
    compiled.collect()
}

fn count(checks: &[Check], verdict: Verdict) -> usize {
    checks
        .iter()
        .filter(|check| check.verdict == verdict)
        .count()
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
    }
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for check in checks {
        let (of, said, name) = (check.end.word(), word(check.verdict), &check.name);
        text.push_str(&format!(
            "{said:<8} {of:<7} {name:<width$}  {}\n",
            check.found
        ));
        if !check.means.is_empty() {
            text.push_str(&format!("{:10}means  {}\n", "", check.means));
        }
        for fix in &check.fixes {
            text.push_str(&format!("{:10}fix    {fix}\n", ""));
        }
    }
    text.push_str(&format!("\n{}", numbers(checks)));
    text
}

fn numbers(checks: &[Check]) -> String {
    format!(
        "{} passed, {} warnings, {} failed",
        count(checks, Verdict::Passed),
        count(checks, Verdict::Warning),
        count(checks, Verdict::Failed)
    )
}

fn page(checks: &[Check], source: &str, target: &str) -> String {
    let counts = html::counts(&[
        ("passed", count(checks, Verdict::Passed).to_string(), "good"),
        (
            "warnings",
            count(checks, Verdict::Warning).to_string(),
            "warn",
        ),
        ("failed", count(checks, Verdict::Failed).to_string(), "bad"),
    ]);
    let row = |check: &Check| {
        vec![
            Cell::Text(check.name.clone()),
            Cell::Text(check.end.word().to_owned()),
            Cell::Text(word(check.verdict).to_owned()),
            Cell::Text(check.found.clone()),
            Cell::Text(check.means.clone()),
            Cell::Value(Some(check.fixes.join("\n"))),
        ]
    };
    let rows: Vec<Vec<Cell>> = checks.iter().map(row).collect();
    let headers = [
        "check",
        "end",
        "result",
        "found",
        "what it means",
        "what mends it",
    ];
    let table = html::table("checks", &headers, &rows);
    let ends = format!(
        "<p>{} → {}</p>\n",
        html::escape(source),
        html::escape(target)
    );
    html::page("sterna check", &format!("{ends}{counts}{table}"))
}

#[cfg(test)]
mod tests {
    use common::check::End;

    use super::*;

    #[test]
    fn a_failed_check_is_told_with_what_mends_it() {
        let checks = [
            Check::passed("version", End::Source, "10.11"),
            Check::failed("log", End::Source, Code::LogUnusable, "log_bin is <OFF>")
                .means("changes can't be followed")
                .fix("SET GLOBAL x = 1"),
        ];
        let text = text(&checks);
        assert!(text.contains("FAILED   source  log"), "{text}");
        assert!(text.contains("fix    SET GLOBAL x = 1"), "{text}");
        assert!(text.ends_with("1 passed, 0 warnings, 1 failed"), "{text}");
        let page = page(&checks, "sqlite:a", "sqlite:b");
        assert!(page.contains("log_bin is &lt;OFF&gt;"), "{page}");
    }

    #[test]
    fn a_wrong_pattern_is_refused() {
        assert!(globs(&["[".to_owned()]).is_err());
        assert_eq!(globs(&["clock*".to_owned()]).expect("valid").len(), 1);
    }
}
