//! URLs as the user types them: the password taken out, SQLite paths made absolute, one spelling
//! for each scheme; and the command line without secrets, for messages.

use clap::Parser;
use common::code::{Code, Failure};
use common::job::{Endpoint, SecretRef};
use common::job_file::{has_password, has_secret_option};
use secrecy::SecretString;
use url::Url;

use crate::cli::Cli;
use crate::error::Result;

/// What a URL may look like, for messages.
const URL_FORMS: &str = "sqlite:PATH, mysql://USER@HOST:PORT/DB, mariadb://… (the same) or \
                         postgres://USER@HOST:PORT/DB?schema=S";

/// An endpoint that may enter the log, and the password that may not.
pub struct Taken {
    pub endpoint: Endpoint,
    pub password: Option<SecretString>,
}

/// Reads the URL of `role` ("source" or "target"); the variable STERNA_<ROLE>_PASSWORD gives the
/// password when the URL has none.
pub fn take(role: &str, text: &str) -> Result<Taken> {
    let variable = password_variable(role);
    take_with(role, text, std::env::var(variable).ok())
}

/// Where the password of `role` may come from.
pub fn password_variable(role: &str) -> String {
    format!("STERNA_{}_PASSWORD", role.to_uppercase())
}

fn take_with(role: &str, text: &str, variable: Option<String>) -> Result<Taken> {
    let usage = |what: String| Failure::new(Code::Usage, format!("the {role}'s URL {what}"));
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(usage(format!("has no scheme: use {URL_FORMS}")));
    };
    match scheme {
        "sqlite" => Ok(Taken {
            endpoint: Endpoint {
                url: absolute(rest).map_err(usage)?,
                password: None,
            },
            password: None,
        }),
        "mysql" | "mariadb" | "postgres" | "postgresql" => {
            let (url, typed) = server_url(text).map_err(usage)?;
            let password = typed.or(variable).map(SecretString::from);
            let reference = SecretRef::Session(role.to_owned());
            let endpoint = Endpoint {
                url,
                password: password.as_ref().map(|_| reference),
            };
            Ok(Taken { endpoint, password })
        }
        _ => Err(usage(format!("has an unknown scheme: use {URL_FORMS}"))),
    }
}

/// `sqlite:` and the absolute path, which means the same to a worker elsewhere on this machine.
fn absolute(path: &str) -> std::result::Result<String, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err("names no file: use sqlite:PATH".to_owned());
    }
    if path == ":memory:" {
        return Err("names a database in memory, which ends with its connection".to_owned());
    }
    let absolute = std::path::absolute(path).map_err(|error| error.to_string())?;
    // The folder's real name, so that the same file always gives the same state directory.
    let real = match (absolute.parent(), absolute.file_name()) {
        (Some(folder), Some(name)) => folder.canonicalize().map(|folder| folder.join(name)),
        _ => return Err("names a folder, not a file".to_owned()),
    };
    let path = real.unwrap_or(absolute);
    let path = path.to_str().ok_or("is not valid UTF-8")?;
    Ok(format!("sqlite:{path}"))
}

/// The URL without its password, and the password, decoded. The text is never repeated in an error.
fn server_url(text: &str) -> std::result::Result<(String, Option<String>), String> {
    let hint = "special characters in user and password are written %40 (@), %3A (:), %2F (/), \
                or give the password in the environment";
    let mut url = Url::parse(text).map_err(|error| format!("can't be read: {error}; {hint}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("names no host; {hint}"));
    }
    if url.path().trim_matches('/').is_empty() {
        return Err("names no database: add /DATABASE".to_owned());
    }
    if url.fragment().is_some() {
        return Err(format!("has a part after #; {hint}"));
    }
    if has_secret_option(text) {
        let what = "has a password, or the way to one, among its options";
        return Err(format!("{what}: write USER:PASSWORD@HOST; {hint}"));
    }
    let password = url.password().map(decode).transpose()?;
    // A URL with a host, checked above, can have its password removed.
    let _ = url.set_password(None);
    let clean = one_spelling(url.as_str());
    if has_password(&clean) || url.path().contains('@') {
        return Err(format!("has more than one place for a password; {hint}"));
    }
    Ok((clean, password))
}

/// `postgresql://` and `postgres://` are one thing: the same two databases have one state
/// directory, and a target that is the source is found out.
pub fn one_spelling(url: &str) -> String {
    match url.strip_prefix("postgresql://") {
        Some(rest) => format!("postgres://{rest}"),
        None => url.to_owned(),
    }
}

/// `%40` -> `@`.
fn decode(text: &str) -> std::result::Result<String, String> {
    let wrong = || "has a password with a % that isn't followed by two hex digits: write %25";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.ok_or_else(wrong)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "has a password that is not UTF-8".to_owned())
}

/// The text with the password of every URL in it taken out.
pub fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find([' ', '\'', '"', '\n']).unwrap_or(after.len());
        let (word, tail) = after.split_at(end);
        let word = match (has_secret_option(word), word.split_once('?')) {
            (true, Some((place, _))) => format!("{place}?…"),
            _ => word.to_owned(),
        };
        match word.rsplit_once('@') {
            Some((info, host)) => {
                let user = info.split(':').next().unwrap_or_default();
                clean.push_str(user);
                clean.push('@');
                clean.push_str(host);
            }
            None => clean.push_str(&word),
        }
        rest = tail;
    }
    clean.push_str(rest);
    clean
}

/// The command that was typed, without passwords, as a shell reads it.
pub fn command_line() -> String {
    let words = std::env::args().map(|word| quote(&redact(&word)));
    words.collect::<Vec<_>>().join(" ")
}

/// `word` as a shell reads it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Reads the command line; an error is printed (without passwords) and is an exit status.
pub fn parse_args() -> std::result::Result<Cli, u8> {
    Cli::try_parse().map_err(|error| {
        let text = error.render().to_string();
        let clean = redact(&text);
        let printed = match clean == text {
            true => error.print(),
            false => std::io::Write::write_all(&mut std::io::stderr(), clean.as_bytes()),
        };
        // The status tells it all if the terminal is gone.
        let _ = printed;
        u8::try_from(error.exit_code()).unwrap_or(2)
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn taken(text: &str, variable: Option<&str>) -> (String, Option<String>) {
        let taken = take_with("source", text, variable.map(str::to_owned)).expect("valid");
        let password = taken.password.map(|p| p.expose_secret().to_owned());
        (taken.endpoint.url, password)
    }

    #[test]
    fn passwords_leave_the_url() {
        let (url, password) = taken("mysql://me:p%40ss%3A%25@db1:3307/shop", Some("other"));
        assert_eq!(url, "mysql://me@db1:3307/shop");
        assert_eq!(password.as_deref(), Some("p@ss:%"));
        let (url, password) = taken("mariadb://me@db1/shop", Some("from-env"));
        assert_eq!(
            (url.as_str(), password.as_deref()),
            ("mariadb://me@db1/shop", Some("from-env"))
        );
        assert_eq!(taken("mysql://me@h/d", None).1, None);
        let (url, password) = taken("postgresql://me:s%3Fc@db1:5433/shop?schema=Ü", None);
        assert_eq!(url, "postgres://me@db1:5433/shop?schema=%C3%9C");
        assert_eq!(password.as_deref(), Some("s?c"));
        let (url, password) = taken("postgres://me@[::1]/shop?sslmode=require", Some("env"));
        assert_eq!(url, "postgres://me@[::1]/shop?sslmode=require");
        assert_eq!(password.as_deref(), Some("env"));
    }

    #[test]
    fn a_broken_url_s_error_doesn_t_repeat_it() {
        for text in [
            "mysql://u:hun#ter2@h/d",
            "mysql://u:hun/ter2@h/d",
            "mysql://u:hun@ter2@/d",
            "mysql://u:hunter2@h",
            "mysql://u:hun%ter2@h/d",
            "oracle://u:hunter2@h/d",
            "mysql://h/d?password=hunter2",
            "postgres://u@h/d?sslmode=require&password=hunter2",
            "postgresql://u@h/d?PASS%57ORD=hunter2",
            "postgres://u@h/d?passfile=/home/hunter2",
            "postgres://u:hun/ter2@h/d?schema=s",
            "postgres://u:hunter2@h",
        ] {
            let failure = take_with("source", text, None).err().expect(text);
            assert_eq!(failure.code, Code::Usage);
            assert!(!failure.to_string().contains("ter2"), "{failure}");
        }
    }

    #[test]
    fn sqlite_paths_become_absolute() {
        let (url, _) = taken("sqlite:copy.db", None);
        let here = std::env::current_dir().expect("there is one");
        let here = here.canonicalize().expect("it is there");
        assert_eq!(url, format!("sqlite:{}/copy.db", here.display()));
        assert_eq!(taken("sqlite:///tmp/x.db", None).0, "sqlite:/tmp/x.db");
        assert!(take_with("source", "sqlite:", None).is_err());
    }

    #[test]
    fn the_command_to_resume_has_no_password() {
        assert_eq!(redact("mysql://me:a@b@h/d x"), "mysql://me@h/d x");
        assert_eq!(redact("sqlite:a"), "sqlite:a");
        assert_eq!(
            redact("'postgres://u@h/d?schema=s' postgres://u:p@h/d?a=b&password=x"),
            "'postgres://u@h/d?schema=s' postgres://u@h/d?…"
        );
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("-x"), "-x");
        assert_eq!(quote("*_tmp"), "'*_tmp'");
    }
}
