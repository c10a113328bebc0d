//! `sterna explain`: what an error code means.

use common::code::{Code, Failure};
use common::job_file::nearest;
use serde_json::json;

use crate::cli::{Global, Output};
use crate::error::{Result, page};
use crate::output;

pub fn run(code: Option<&str>, global: &Global) -> Result<u8> {
    let Some(text) = code else {
        let rows = Code::ALL.iter().map(|code| {
            let exit = code.exit().to_string();
            vec![code.to_string(), exit, code.title().to_owned()]
        });
        output::line(&output::table(&["CODE", "#EXIT", "TITLE"], rows.collect()))?;
        return Ok(0);
    };
    let code = find(text)?;
    match global.output {
        Output::Table => output::line(&page(code))?,
        Output::Json => output::json(&json!({
            "api_version": common::status::API_VERSION,
            "code": code.as_str(),
            "title": code.title(),
            "effect": code.effect(),
            "do": code.fix(),
            "exit_code": code.exit(),
        }))?,
    }
    Ok(0)
}

fn find(text: &str) -> Result<Code> {
    let wanted = text.to_uppercase();
    let found = Code::ALL.iter().find(|code| code.as_str() == wanted);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let failure = Failure::new(Code::Usage, format!("there is no error code {text:?}"));
        match nearest(&wanted, &known) {
            Some(near) => failure.fix(format!("did you mean {near}? `sterna explain` lists all")),
            None => failure.fix("`sterna explain` lists all codes"),
        }
    })
}
