//! `sterna explain`: what an error code, or the code of a loss, means.

use common::code::{Code, Failure};
use common::fidelity::Loss;
use common::job_file::nearest;
use serde_json::json;

use crate::cli::{Global, Output};
use crate::error::{Result, page};
use crate::output;

enum Found {
    Error(Code),
    Loss(Loss),
}

pub fn run(code: Option<&str>, global: &Global) -> Result<u8> {
    match (code.map(find).transpose()?, global.output) {
        (None, Output::Table) => output::line(&list())?,
        (None, Output::Json) => output::json(&json!({
            "api_version": common::status::API_VERSION,
            "errors": Code::ALL.iter().map(|code| error(*code)).collect::<Vec<_>>(),
            "losses": Loss::ALL.iter().map(|one| loss(*one)).collect::<Vec<_>>(),
        }))?,
        (Some(Found::Error(code)), Output::Table) => output::line(&page(code))?,
        (Some(Found::Loss(one)), Output::Table) => output::line(&loss_page(one))?,
        (Some(Found::Error(code)), Output::Json) => output::json(&error(code))?,
        (Some(Found::Loss(one)), Output::Json) => output::json(&loss(one))?,
    }
    Ok(0)
}

fn list() -> String {
    let errors = Code::ALL.iter().map(|code| {
        let exit = code.exit().to_string();
        vec![code.to_string(), exit, code.title().to_owned()]
    });
    let losses = Loss::ALL.iter().map(|one| {
        vec![
            one.to_string(),
            one.title().to_owned(),
            one.accepted().to_owned(),
        ]
    });
    format!(
        "{}\n\nLosses, for --accept CODE:table.column:\n{}",
        output::table(&["CODE", "#EXIT", "TITLE"], errors.collect()),
        output::table(&["CODE", "VALUES", "ONCE ACCEPTED"], losses.collect()),
    )
}

fn error(code: Code) -> serde_json::Value {
    json!({
        "api_version": common::status::API_VERSION,
        "code": code.as_str(),
        "title": code.title(),
        "effect": code.effect(),
        "do": code.fix(),
        "exit_code": code.exit(),
    })
}

fn loss(one: Loss) -> serde_json::Value {
    json!({
        "api_version": common::status::API_VERSION,
        "code": one.code(),
        "values": one.title(),
        "once_accepted": one.accepted(),
        "accept": format!("{one}:TABLE.COLUMN"),
    })
}

fn loss_page(one: Loss) -> String {
    format!(
        "# {one}: {values}\n\n\
         Not every value of this kind can be held by every target. Where the plan says that a column\n\
         may have one (`sterna plan`), it is looked for before it is written.\n\n\
         | | |\n|---|---|\n\
         | not accepted | such a value stops the job (ST4002), which names table, column and value; a \
         cast that changes values by itself is refused (exit status 8) before anything is changed |\n\
         | accepted | {accepted} |\n\
         | accept it for a column | `--accept {one}:TABLE.COLUMN`, or in the job file \
         `accept = [\"{one}:TABLE.COLUMN\"]`; both names may be patterns |\n",
        values = one.title(),
        accepted = one.accepted(),
    )
}

fn find(text: &str) -> Result<Found> {
    let (upper, lower) = (text.to_uppercase(), text.to_lowercase());
    if let Some(code) = Code::ALL.iter().find(|code| code.as_str() == upper) {
        return Ok(Found::Error(*code));
    }
    if let Some(one) = Loss::ALL.iter().find(|one| one.code() == lower) {
        return Ok(Found::Loss(*one));
    }
    let errors: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let losses: Vec<&str> = Loss::ALL.iter().map(|one| one.code()).collect();
    let near = nearest(&upper, &errors).or_else(|| nearest(&lower, &losses));
    let failure = Failure::new(Code::Usage, format!("there is no code {text:?}"));
    Err(match near {
        Some(near) => failure.fix(format!("did you mean {near}? `sterna explain` lists all")),
        None => failure.fix("`sterna explain` lists all codes"),
    })
}
