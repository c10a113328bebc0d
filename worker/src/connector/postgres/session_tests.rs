//! URLs of PostgreSQL endpoints.

use super::*;

fn host(url: &str) -> Result<Host, Error> {
    let endpoint = Endpoint {
        url: url.to_owned(),
        password: None,
    };
    Host::new(&endpoint, None)
}

#[test]
fn urls_are_read_with_their_escapes() {
    let found = host("postgresql://a%40b@[::1]/my%20db?schema=S%22x&sslmode=disable");
    let found = found.expect("valid");
    let read = (found.name.as_str(), found.schema.as_str());
    assert_eq!(read, ("a@b@::1:5432/my db", "S\"x"));
    let socket = host("postgres://u@localhost/db?host=/run/postgresql").expect("valid");
    assert_eq!(socket.name, "u@/run/postgresql:5432/db");
}

#[test]
fn a_wrong_url_says_what_is_wrong() {
    for url in [
        "postgres://h/db",
        "postgres://u@h",
        "postgres://u@h/db?colour=red",
        "postgres://u@h/db?sslmode=maybe",
    ] {
        let error = host(url).err().expect(url);
        assert_eq!(error.failure.code, Code::Usage, "{url}");
    }
}
