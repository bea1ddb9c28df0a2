//! A remote that comes and goes all the time.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::METHODS;
use super::servers::{Server, before, client, pause};
use crate::support::{Kind, SetOnDrop, until};

/// Clients come all the time: none fails, and the log tells of changes and of nothing else.
#[test]
fn a_remote_that_flaps_fails_no_client_and_fills_no_log() {
    for (kind, method) in [Kind::V4, Kind::V4, Kind::UnixPath, Kind::UnixPath].into_iter().zip(METHODS) {
        let mut servers = Server::some(kind, 3);
        let checks = ["--check-interval", "100ms", "--check-timeout", "30s", "--rise", "1", "--fall", "1"];
        let proxy = before(Kind::V4, &servers).args(&["-t", "2", "--balance", method]).args(&checks).start();
        let enough = AtomicBool::new(false);
        // Closing ends connections that nobody has accepted yet; those are no fault of the proxy's.
        let connecting = RwLock::new(());
        let flaps = thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !enough.load(Ordering::Relaxed) {
                        {
                            let _connecting = connecting.read();
                            client(&proxy);
                        }
                        pause();
                    }
                });
            }
            let _enough = SetOnDrop(&enough);
            let address = servers[0].address.clone();
            let told = |what: &str| {
                let start = format!("remote {address} is {what}: ");
                proxy.log.so_far().iter().filter(|line| line.message.starts_with(&start)).count()
            };
            let mut flaps = 0;
            until("changes", || {
                {
                    let _nobody = connecting.write();
                    servers[0].close();
                }
                // Some checks go by in each state.
                thread::sleep(Duration::from_millis(200));
                servers[0].open();
                thread::sleep(Duration::from_millis(200));
                flaps += 1;
                (told("down") >= 3 && told("up") >= 3).then_some(flaps)
            })
        });
        let lines = proxy.stop();
        let told = lines.iter().filter(|line| line.thread == "health").count();
        // Sessions may find it out first, also while a check is under way, and each change is told once; clients and checks
        // are many more.
        assert!(told <= 5 * flaps, "{method}: {told} lines for {flaps} flaps");
        let mut ends = lines.iter().filter(|line| line.message.starts_with("disconnect client to proxy "));
        assert!(ends.all(|line| line.message.contains(": end of stream")), "{method}");
    }
}
