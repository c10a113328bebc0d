//! A server dies or is stopped under a running job, and comes back: the job goes on by itself.

use super::pool::Server;
use super::scene::Scene;

fn target(scene: &mut Scene) -> &mut Server {
    let target = scene.servers.target.as_mut();
    target.expect("asked only of engines with a server")
}

fn source(scene: &mut Scene) -> &mut Server {
    let source = scene.servers.source.as_mut();
    source.expect("asked only of engines with a server")
}

pub async fn target_killed(scene: &mut Scene) {
    let server = target(scene);
    server.kill();
    server.run().await;
}

pub async fn target_restarted(scene: &mut Scene) {
    let server = target(scene);
    server.stop().await;
    server.run().await;
}

pub async fn source_killed(scene: &mut Scene) {
    let server = source(scene);
    server.kill();
    server.run().await;
}

pub async fn source_restarted(scene: &mut Scene) {
    let server = source(scene);
    server.stop().await;
    server.run().await;
}

/// Both at once, the source back first.
pub async fn both_killed(scene: &mut Scene) {
    target(scene).kill();
    source(scene).kill();
    source(scene).run().await;
    target(scene).run().await;
}
