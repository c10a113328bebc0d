//! Reports as one HTML file that needs nothing else: the page's frame with its style, escaping, and
//! writing the file. What is on the page is decided by the commands.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use common::code::{Code, Failure};

use crate::error::{Result, io};

/// Light and dark by the reader's system; no script, no font, no picture from elsewhere.
const STYLE: &str = "\
:root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--soft:#57606a;--line:#d0d7de;--head:#f3f5f8;\
--good:#116329;--bad:#a40e26;--warn:#7d4e00}
@media(prefers-color-scheme:dark){:root{--fg:#e6e9ee;--bg:#14171c;--soft:#a2abb7;--line:#3a424d;\
--head:#20252d;--good:#6fdd8b;--bad:#ff9492;--warn:#f0b72f}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem;max-width:76rem;color:var(--fg);background:var(--bg);\
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.2rem;margin:2.25rem 0 .5rem}
p{margin:.5rem 0}.soft{color:var(--soft)}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}\
.warn{color:var(--warn);font-weight:600}
dl.counts{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0;padding:0}
dl.counts div{flex:1 1 8rem;border:1px solid var(--line);border-radius:.5rem;padding:.6rem .9rem}
dl.counts dt{color:var(--soft);font-size:.875rem}
dl.counts dd{margin:0;font-size:1.5rem;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
.wide:focus-visible{outline:2px solid var(--fg);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.925rem}
caption{text-align:left;color:var(--soft);padding:.25rem 0}
th,td{border-bottom:1px solid var(--line);padding:.4rem .6rem;text-align:left;vertical-align:top}
thead th{background:var(--head)}tbody th{font-weight:600}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code,pre,td.value{font-family:ui-monospace,monospace;font-size:.875em;overflow-wrap:anywhere}
pre{background:var(--head);border:1px solid var(--line);border-radius:.4rem;padding:.6rem .8rem;\
white-space:pre-wrap}
td.value{white-space:pre-wrap}
.null{color:var(--soft);font-style:italic}
footer{margin-top:2.5rem;color:var(--soft);font-size:.875rem}
@media print{body{max-width:none;padding:0}.wide{overflow:visible}}
";

/// A page: `title` as plain text, `body` as HTML that was escaped already.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"generator\" content=\"sterna {version}\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}</main>\n\
         <footer>Written by sterna {version}. Values of the databases may be in this file.</footer>\n\
         </body>\n</html>\n"
    )
}

/// `text` as HTML shows it, also inside quoted attributes. Characters that HTML has no place for,
/// and those that turn the direction of what follows, are shown as `\u{…}`.
pub fn escape(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => clean.push_str("&amp;"),
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '"' => clean.push_str("&quot;"),
            '\'' => clean.push_str("&#39;"),
            '\n' | '\t' => clean.push(c),
            c if is_hidden(c) => {
                // Writing to a string can't fail.
                let _ = write!(clean, "\\u{{{:x}}}", u32::from(c));
            }
            c => clean.push(c),
        }
    }
    clean
}

/// Control characters, marks of direction and of no width: what isn't seen, or moves what is.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// The numbers on top: a label, a number, and its class (`good`, `bad`, `warn` or empty).
pub fn counts(of: &[(&str, String, &str)]) -> String {
    let mut html = String::from("<dl class=\"counts\">\n");
    for (label, number, class) in of {
        let (label, number) = (escape(label), escape(number));
        let _ = writeln!(
            html,
            "<div><dt>{label}</dt><dd class=\"{class}\">{number}</dd></div>"
        );
    }
    html.push_str("</dl>\n");
    html
}

/// One cell of a table.
pub enum Cell {
    /// Plain text, escaped here.
    Text(String),
    /// To the right.
    Number(String),
    /// A value of a database, or a statement; None = NULL.
    Value(Option<String>),
}

/// A table with a caption; headers that begin with `#` are of numbers. The first cell of each row
/// is the row's header.
pub fn table(caption: &str, headers: &[&str], rows: &[Vec<Cell>]) -> String {
    let caption = escape(caption);
    // What can be scrolled can be reached by the keyboard.
    let mut html = format!(
        "<div class=\"wide\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n<table>\n\
         <caption>{caption}</caption>\n<thead><tr>"
    );
    for header in headers {
        let class = match header.starts_with('#') {
            true => " class=\"number\"",
            false => "",
        };
        let text = escape(header.trim_start_matches('#'));
        let _ = write!(html, "<th scope=\"col\"{class}>{text}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            let (tag, scope) = match at {
                0 => ("th", " scope=\"row\""),
                _ => ("td", ""),
            };
            let (class, text) = cell.parts();
            let _ = write!(html, "<{tag}{scope}{class}>{text}</{tag}>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
    html
}

impl Cell {
    fn parts(&self) -> (&'static str, String) {
        match self {
            Cell::Text(text) => ("", escape(text)),
            Cell::Number(text) => (" class=\"number\"", escape(text)),
            // An empty cell says nothing.
            Cell::Value(Some(text)) if text.is_empty() => (
                " class=\"value\"",
                "<span class=\"null\">empty text</span>".to_owned(),
            ),
            Cell::Value(Some(text)) => (" class=\"value\"", escape(text)),
            Cell::Value(None) => (
                " class=\"value\"",
                "<span class=\"null\">NULL</span>".to_owned(),
            ),
        }
    }
}

/// Writes `text` to `path`, whole or not at all, for its owner's eyes.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| io(Code::Usage, path.display(), &error);
    let mut file = new_beside(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Nothing is written; an error if nothing could be, told before hours of work end with it.
pub fn writable(path: &Path) -> Result<()> {
    let refused = |what: String| Err(Failure::new(Code::Usage, what));
    match std::fs::metadata(path) {
        // It would be replaced: /dev/null, say.
        Ok(found) if !found.is_file() => refused(format!("{} is no file", path.display())),
        _ => match new_beside(path) {
            Ok(_) => Ok(()),
            Err(error) => refused(format!("{} can't be written: {error}", path.display())),
        },
    }
}

/// A new file in the same folder, mode 0600, that is gone again unless it is kept.
fn new_beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    tempfile::Builder::new()
        .prefix(".sterna-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_value_is_taken_for_html() {
        let nasty = "<script>alert('1')</script>\" onload=\"x\u{202e}\0";
        let shown = escape(nasty);
        for c in ['<', '>', '"', '\'', '\u{202e}', '\0'] {
            assert!(!shown.contains(c), "{shown}");
        }
        assert!(shown.ends_with("\\u{202e}\\u{0}"), "{shown}");
        let table = table(
            nasty,
            &[nasty, "#n"],
            &[vec![Cell::Value(Some(nasty.into()))]],
        );
        assert!(!table.contains("<script"), "{table}");
        assert!(page(nasty, "").contains("<title>&lt;script&gt;"));
    }

    #[test]
    fn a_file_is_its_owner_s_and_is_written_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("report.html");
        writable(&path).expect("a folder of ours");
        assert!(!path.exists(), "nothing is written by looking");
        write(&path, "one").expect("written");
        write(&path, "two").expect("written again");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "two");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).expect("there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let names = std::fs::read_dir(dir.path()).expect("a folder").count();
        assert_eq!(names, 1, "nothing is left beside it");
        assert!(writable(dir.path()).is_err(), "a folder is no file");
        assert!(writable(&dir.path().join("no/such/x.html")).is_err());
    }
}
