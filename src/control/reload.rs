//! Reload: reads the settings again, and changes what can be changed without a client noticing.
//!
//! Everything is read, resolved and bound before anything changes, so that a failure leaves all as it was.

use crossbeam_channel::Sender;
use log::{error, info, warn};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::reloader::Asker;
use super::start::{judge_picked, most_sources, running};
use super::{Control, Notice, Plan, Running, notify, shutdown, told, wanted};
use crate::base::error::error_text;
use crate::capture;
use crate::config::judge::warnings;
use crate::config::keys::{self, Key, Scope};
use crate::config::settings::{OnReload, ProcessSettings, ServiceSettings, Settings};
use crate::service::Service;
use crate::thread::Message;

/// Reads the settings and judges them; each error is one line.
pub type Load = Arc<dyn Fn() -> Result<Settings, Vec<String>> + Send + Sync>;

/// How far a reload is that has been asked for.
pub(super) struct Reloading {
    /// Where the thread that reads says that it has.
    notices: Sender<Notice>,
    under_way: bool,
    /// Somebody has asked for another one meanwhile.
    again: bool,
    /// Who waits for what it comes to.
    asker: Option<Asker>,
}

impl Reloading {
    /// None has been asked for.
    pub(super) fn new(notices: &Sender<Notice>) -> Reloading {
        Reloading { notices: notices.clone(), under_way: false, again: false, asker: None }
    }
}

/// A reload that is ready to be carried out.
struct Ready {
    settings: Settings,
    services: Vec<Running>,
    plan: Plan,
}

/// What became of services, for the log and the service manager.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    added: usize,
    changed: usize,
    removed: usize,
    /// Options of the process that hold from now on, and those that need a restart.
    process: Vec<&'static str>,
    restart: Vec<&'static str>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { added, changed, removed, process, restart } = self;
        match added + changed + removed {
            0 if process.is_empty() => f.write_str("nothing has changed")?,
            _ => write!(f, "services added: {added}, changed: {changed}, removed: {removed}")?,
        }
        if !process.is_empty() {
            write!(f, "; of the process: {}", process.join(", "))?;
        }
        if !restart.is_empty() {
            write!(f, "; not before a restart: {}", restart.join(", "))?;
        }
        Ok(())
    }
}

impl Control {
    /// Has the settings read, which may take long where names are looked up: by a thread of its own, so that whoever stops
    /// the program need not wait for it.
    pub(super) fn begin_reload(&mut self, load: Option<&Load>) {
        let Some(load) = load.cloned() else {
            // It takes the signal for the sake of its access logs.
            if let Some(asker) = Asker::waiting() {
                asker.tell(&Err("it was started without --config, so there is no file to read again".to_string()));
            }
            return;
        };
        if self.reloading.under_way {
            self.reloading.again = true;
            return;
        }
        info!("reload: reading the configuration");
        told(notify::reloading());
        // Before the file is read: who asks later has changed it since.
        self.reloading.asker = Asker::waiting();
        self.reloading.under_way = true;
        let notices = self.reloading.notices.clone();
        let body = move || drop(notices.send(Notice::Loaded(Box::new(load()))));
        if let Err(error) = thread::Builder::new().name("reload".into()).spawn(body) {
            self.reload(Err(vec![format!("starting a thread: {}", error_text(&error))]), None);
        }
    }

    /// Makes the settings true that were read, or leaves everything as it is and says why.
    pub(super) fn reload(&mut self, settings: Result<Settings, Vec<String>>, load: Option<&Load>) {
        let outcome = settings.and_then(|settings| self.prepare(settings)).map(|ready| self.carry_out(ready));
        let status = match &outcome {
            Ok(change) => format!("serving {}; {change}", self.services_text()),
            Err(errors) => {
                for line in errors {
                    error!("reload failed: {line}");
                }
                error!("reload failed: everything stays as it was");
                format!("serving {} as before; the last reload failed: {}", self.services_text(), errors.join("; "))
            }
        };
        told(notify::ready(&status));
        if let Some(asker) = self.reloading.asker.take() {
            asker.tell(&outcome.map_err(|errors| errors.join("\n")));
        }
        self.reloading.under_way = false;
        if std::mem::take(&mut self.reloading.again) {
            self.begin_reload(load);
        }
    }

    /// Everything that can fail.
    fn prepare(&mut self, mut settings: Settings) -> Result<Ready, Vec<String>> {
        let mut former: HashMap<&str, &Running> =
            self.services.iter().map(|running| (running.settings.name.as_str(), running)).collect();
        let mut services = Vec::with_capacity(settings.services.len());
        let mut errors = Vec::new();
        for wanted in &mut settings.services {
            let former = former.remove(wanted.name.as_str());
            if let Some(former) = former {
                wanted.keep_addresses(&former.settings);
            }
            match former {
                // The same one goes on: whatever it has counted or learnt, it keeps.
                Some(same) if same.settings.is_same_for_sessions(wanted) => {
                    services.push(Running { settings: wanted.clone(), service: same.service.clone() });
                }
                former => match running(wanted, former.map(|former| &*former.service), self.clock) {
                    Ok(running) => services.push(running),
                    Err(error) => errors.push(error),
                },
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let wanted = wanted(&services);
        if let Some(changes) = self.listening.free(&wanted) {
            let most_sessions = self.descriptors.sessions(self.listening.descriptors(), &self.settings);
            self.tell(changes, most_sources(most_sessions, &self.settings));
        }
        let plan = self.listening.prepare(&wanted)?;
        judge_picked(&services, &plan)?;
        Ok(Ready { settings, services, plan })
    }

    /// What cannot fail any more. Returns what has changed, in words.
    fn carry_out(&mut self, ready: Ready) -> String {
        let Ready { settings, services, plan } = ready;
        let restart = needs_restart(&self.settings.process, &settings.process);
        let drain_differs = self.settings.process.drain_timeout != settings.process.drain_timeout;
        let changes = self.listening.commit(plan);
        capture::begin();
        let former = std::mem::replace(&mut self.services, services);
        self.services.iter().for_each(|running| running.service.take_effect());
        // What needs a restart stays as it is.
        let process =
            ProcessSettings { drain_timeout: settings.process.drain_timeout, ..self.settings.process.clone() };
        self.settings = Settings { process, services: settings.services };
        let most_sessions = self.descriptors.sessions(self.listening.descriptors(), &self.settings);
        self.room.set_most_sessions(most_sessions);
        let most_checks = self.descriptors.checks(&self.settings);
        self.health.follow_if_possible(&self.services, self.listening.addresses(), most_checks);
        self.status.follow(&self.services, &self.listening);
        self.tell(changes, most_sources(most_sessions, &self.settings));

        let (mut difference, replaced) = self.compare(former);
        difference.process.extend(drain_differs.then_some("drain-timeout"));
        difference.restart = restart;
        for service in replaced {
            self.retire(service);
        }
        info!("reload: {difference}");
        difference.to_string()
    }

    /// Says what has changed, and which services have been replaced or removed.
    fn compare(&self, former: Vec<Running>) -> (Difference, Vec<Arc<Service>>) {
        let mut former: HashMap<String, Running> =
            former.into_iter().map(|running| (running.settings.name.clone(), running)).collect();
        let mut difference = Difference::default();
        let mut replaced = Vec::new();
        for Running { settings, service } in &self.services {
            match former.remove(&settings.name) {
                None => {
                    info!("reload: service {} added", settings.name);
                    warn_of(settings);
                    difference.added += 1;
                }
                Some(before) if before.settings.is_same(settings) => {}
                Some(before) => {
                    info!("reload: service {} changed: {}", settings.name, changed_keys(&before.settings, settings));
                    warn_of(settings);
                    difference.changed += 1;
                    if !Arc::ptr_eq(&before.service, service) {
                        replaced.push(before.service);
                    }
                }
            }
        }
        let mut removed: Vec<Running> = former.into_values().collect();
        removed.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
        for Running { settings, service } in removed {
            info!("reload: service {} removed", settings.name);
            difference.removed += 1;
            replaced.push(service);
        }
        (difference, replaced)
    }

    /// Sees to the sessions of a service that no client can come to any more.
    fn retire(&self, service: Arc<Service>) {
        // Each session holds the service, and nobody else does now.
        let sessions = match Arc::strong_count(&service) - 1 {
            0 => return,
            1 => "1 session".to_string(),
            count => format!("{count} sessions"),
        };
        let name = &service.name;
        let by = match service.on_reload {
            OnReload::Keep => {
                let go = if sessions.starts_with("1 ") { "goes" } else { "go" };
                return info!("reload: service {name}: {sessions} {go} on with the former configuration");
            }
            OnReload::Drain => {
                let timeout = self.settings.process.drain_timeout;
                info!("reload: service {name}: {sessions} with the former configuration may go on for {timeout:?}");
                shutdown::after(timeout)
            }
            OnReload::Reset => {
                info!("reload: service {name}: {sessions} with the former configuration reset");
                Instant::now()
            }
        };
        for io_thread in &self.io_threads {
            // A thread that has ended, ended the program.
            let _ = io_thread.send(Message::Retire(service.id, by));
        }
    }
}

/// Warns of what the start would have warned of.
fn warn_of(settings: &ServiceSettings) {
    for warning in warnings(settings) {
        warn!("reload: {warning}");
    }
}

/// The option whose value is a file of keys.
const STRIPE_KEY: &str = "stripe-key";

/// The option whose values may be files of networks.
const ACCESS: &str = "access";

/// The keys whose values differ.
fn changed_keys(before: &ServiceSettings, now: &ServiceSettings) -> String {
    let changed = |key: &&Key| match key.scope {
        Scope::Service { show, .. } => show(before) != show(now),
        _ => false,
    };
    let mut names: Vec<&str> = keys::all().filter(changed).map(|key| key.long).collect();
    // Its path is written, and what stands in it differs.
    if before.stripe.keys != now.stripe.keys && !names.contains(&STRIPE_KEY) {
        names.push(STRIPE_KEY);
    }
    // The same of files of networks.
    if before.access != now.access && !names.contains(&ACCESS) {
        names.push(ACCESS);
    }
    // What is written is the same, so that it is what a name stands for that differs.
    if names.is_empty() { "addresses of names".to_string() } else { names.join(", ") }
}

/// Says what the file asks for and only a restart can change, and returns the keys.
fn needs_restart(now: &ProcessSettings, wanted: &ProcessSettings) -> Vec<&'static str> {
    let keys: Vec<&str> = [
        ("io-threads", now.io_threads != wanted.io_threads),
        ("buffer-size", now.buffer_size != wanted.buffer_size),
        ("zero-copy", now.zero_copy != wanted.zero_copy),
        ("reuse-port", now.reuse_port != wanted.reuse_port),
        ("log-level", now.log != wanted.log),
        ("status", now.status != wanted.status),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect();
    for key in &keys {
        warn!("reload: {key} is not changed before a restart");
    }
    keys
}
