//! A job asks the checks first: what fails stops it before anything is made, and the statement that
//! is told makes the same command work.

use crate::harness::process::{Dir, Sterna, clone};
use crate::harness::{dataset, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_refused_by_a_check_and_runs_after_its_fix() {
    let server = server::lend().await;
    let source = dataset::narrow(&server, "big", 100).await;
    let root = server.create("copy").await;
    server
        .exec(
            "copy",
            &["CREATE USER half", "GRANT SELECT, INSERT ON copy.* TO half"],
        )
        .await;
    let target = root.replace("//root@", "//half@");
    let dir = Dir::new();
    let checked = Sterna::new(dir.path(), &["check", &source, &target, "-o", "json"])
        .run()
        .await;
    assert_eq!(checked.code, 8, "{checked}");
    let refused = clone(&dir, &source, &target).run().await;
    assert_eq!(refused.code, 4, "{refused}");
    assert!(
        refused
            .stderr
            .contains("privileges (target): the user lacks CREATE, DROP"),
        "{refused}"
    );
    let report = checked.json();
    let checks = report["checks"].as_array().expect("a list");
    let failed = checks.iter().find(|check| check["verdict"] == "failed");
    let failed = failed.expect("one failed");
    assert_eq!(failed["name"], "privileges");
    let fix = failed["fixes"][0].as_str().expect("a statement");
    assert!(refused.stderr.contains(fix), "{fix}: {refused}");
    server.exec("copy", &[fix]).await;
    clone(&dir, &source, &target).run().await.expect_ok();
    server.exec("copy", &["DROP USER half"]).await;
}
