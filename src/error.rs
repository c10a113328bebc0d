//! How an error reaches the user: one object, the same on the terminal and as JSON. Where errors
//! come from is not known here; `common::code` says what each one means.

use std::fmt::Write as _;
use std::io::Write as _;

use common::code::{Code, Failure};
use common::status::API_VERSION;

use crate::cli::Output;

/// What a command ends with: an exit status, or an error that has one.
pub type Result<T> = std::result::Result<T, Failure>;

/// An I/O error on a file the user named, or on the state directory.
pub fn io(code: Code, what: impl std::fmt::Display, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull => Code::StateDirFull,
        _ => code,
    };
    Failure::new(code, format!("{what}: {error}"))
}

/// Prints `failure` on stderr and, if asked for, as JSON on stdout.
pub fn report(failure: &Failure, exit: u8, output: Output, color: bool) {
    lines(failure, color);
    if output == Output::Json {
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{}", json(failure, exit));
    }
}

/// Prints `failure` on stderr alone.
pub fn lines(failure: &Failure, color: bool) {
    let mut stderr = std::io::stderr().lock();
    // Nobody is left to tell when stderr itself is gone.
    let _ = stderr.write_all(text(failure, color).as_bytes());
}

/// The error as lines.
pub fn text(failure: &Failure, color: bool) -> String {
    let code = failure.code;
    let (red, bold, off) = match color {
        true => ("\x1b[31;1m", "\x1b[1m", "\x1b[0m"),
        false => ("", "", ""),
    };
    let mut text = format!("{red}error[{code}]{off}{bold}: {}{off}\n", code.title());
    block(&mut text, "what", failure.what.lines());
    block(&mut text, "effect", code.effect().lines());
    match failure.fixes.is_empty() {
        true => block(&mut text, "do", code.fix().lines()),
        false => block(
            &mut text,
            "do",
            failure.fixes.iter().flat_map(|f| f.lines()),
        ),
    }
    block(
        &mut text,
        "more",
        [format!("sterna explain {code}").as_str()].into_iter(),
    );
    text
}

fn block<'a>(text: &mut String, label: &str, lines: impl Iterator<Item = &'a str>) {
    for (at, line) in lines.enumerate() {
        let label = if at == 0 { label } else { "" };
        // Writing to a string can't fail.
        let _ = writeln!(text, "  {label:<7} {line}");
    }
}

/// The error as one JSON object.
pub fn json(failure: &Failure, exit: u8) -> serde_json::Value {
    let code = failure.code;
    let fixes = match failure.fixes.is_empty() {
        true => vec![code.fix().to_owned()],
        false => failure.fixes.clone(),
    };
    serde_json::json!({
        "api_version": API_VERSION,
        "error": {
            "code": code.as_str(),
            "title": code.title(),
            "what": failure.what,
            "effect": code.effect(),
            "do": fixes,
        },
        "exit_code": exit,
    })
}

/// A code's page, for `explain` and docs/errors.
pub fn page(code: Code) -> String {
    format!(
        "# {code}: {title}\n\n\
         | | |\n|---|---|\n\
         | name | `{code:?}` |\n\
         | exit status | {exit} |\n\
         | what it means for the data | {effect} |\n\
         | what to do | {fix} |\n",
        title = code.title(),
        exit = code.exit(),
        effect = code.effect(),
        fix = code.fix(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_effect_and_do() {
        let failure =
            Failure::new(Code::TargetNotEmpty, "table orders").fix("use another database");
        let text = text(&failure, false);
        assert_eq!(
            text,
            "error[ST3001]: the target already holds tables of these names\n\
             \x20 what    table orders\n\
             \x20 effect  nothing was changed\n\
             \x20 do      use another database\n\
             \x20 more    sterna explain ST3001\n"
        );
        let json = json(&failure, 8);
        assert_eq!(json["error"]["code"], "ST3001");
        assert_eq!(json["exit_code"], 8);
    }

    #[test]
    fn the_pages_in_docs_are_up_to_date() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors");
        for code in Code::ALL {
            let path = format!("{dir}/{code}.md");
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, page(*code), "run `sterna docs errors docs/errors`");
        }
        let pages = std::fs::read_dir(dir)
            .expect("docs/errors is there")
            .count();
        assert_eq!(pages, Code::ALL.len() + 1, "a page of no code, or no index");
    }
}
