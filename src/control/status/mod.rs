//! The status page: a thread that tells whoever asks, by HTTP, what the proxy is doing.
//!
//! It runs only where `--status` asks for it. It reads what threads share anyway, and asks the I/O threads for the rest, who
//! answer in their next turn and wait for nobody; so who reads slowly, or means ill, keeps only this thread busy.

mod client;
mod gather;
mod request;
mod response;
mod server;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use log::{info, warn};
use mio::Poll;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Running;
use super::listening::Listening;
use crate::address::{EndpointAddress, Endpoints};
use crate::base::clock::Clock;
use crate::endpoint::{Binding, ListenError, Listener};
use crate::service::Service;
use crate::service::pool::Pool;
use crate::service::refusals::Refusals;
use crate::thread::Message;
use crate::thread::look::LastLooks;
use crate::thread::mailbox::{Bell, Mailbox, mailbox};
use crate::thread::tokens::INBOX;
use gather::Gatherer;
use server::Server;

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 64;

/// How long the end of the thread is waited for.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
enum Order {
    /// These are the services now.
    Follow(Vec<Watched>),
    /// The program ends as soon as its sessions have.
    Drain,
    /// The program ends.
    Stop,
}

/// What is shown of a service. It does not hold the service itself, as who holds that is counted.
#[derive(Debug)]
struct Watched {
    number: u32,
    name: String,
    listeners: Vec<String>,
    pool: Arc<Pool>,
    refusals: Arc<Refusals>,
}

/// Where the page is, before there is a thread.
#[derive(Debug)]
pub(super) struct Place {
    listener: Listener,
    reach: Reach,
}

/// Who can reach the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Who may open a Unix socket.
    Socket,
    /// Who is on this machine.
    Machine,
    /// Who is on a network.
    Network,
}

/// The thread, as the main thread sees it.
#[derive(Debug, Default)]
pub(super) struct Status(Option<Handle>);

/// What reaches a thread that runs.
#[derive(Debug)]
struct Handle {
    orders: Sender<Order>,
    bell: Bell,
    /// Says nothing, and closes when the thread has ended.
    ended: Receiver<()>,
}

impl Place {
    /// Listens at the address of the page.
    ///
    /// # Errors
    ///
    /// Why it cannot be listened at.
    pub(super) fn bind(status: &Endpoints) -> Result<Option<Place>, ListenError> {
        let Some(address) = status.addresses.first() else { return Ok(None) };
        let listener = Listener::bind(address, Binding { backlog: BACKLOG, shared: false, only_v6: false })?;
        let reach = match address {
            EndpointAddress::Tcp(address) if address.ip().is_loopback() => Reach::Machine,
            EndpointAddress::Tcp(_) => Reach::Network,
            _ => Reach::Socket,
        };
        Ok(Some(Place { listener, reach }))
    }

    /// Says where the page is, and who may see it.
    fn log(&self, address: &Endpoints) {
        match (address.addresses.first(), self.listener.port()) {
            (Some(EndpointAddress::Tcp(address)), Some(port)) => {
                let mut address = *address;
                address.set_port(port);
                info!("status page at http://{address}/");
                if self.reach == Reach::Network {
                    warn!(
                        "status page at http://{address}/: whoever reaches this address sees who is connected to whom"
                    );
                }
            }
            (Some(address), _) => info!("status page at {address}"),
            (None, _) => {}
        }
    }
}

impl Status {
    /// How many descriptors it takes: the listener, a poll and its waker, and the clients with one to spare.
    pub(super) const DESCRIPTORS: u64 = 4 + server::MOST_CLIENTS as u64 + 1;

    /// Starts the thread for a page at this place.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn start(
        place: Place,
        address: &Endpoints,
        io_threads: &[Mailbox<Message>],
        last_looks: &Arc<LastLooks>,
        clock: Clock,
    ) -> io::Result<Status> {
        place.log(address);
        let poll = Poll::new()?;
        let (answers, inbox) = mailbox(poll.registry(), INBOX)?;
        let bell = answers.bell().clone();
        let gatherer = Gatherer::new(io_threads.to_vec(), last_looks.clone(), clock, answers);
        let (sender, orders) = unbounded();
        let server = Server::new(poll, inbox, orders, place, gatherer)?;
        let (ends, ended) = bounded(0);
        thread::Builder::new().name("status".into()).spawn(move || {
            server.run();
            drop(ends);
        })?;
        Ok(Status(Some(Handle { orders: sender, bell, ended })))
    }

    /// Shows these services from now on.
    pub(super) fn follow(&self, services: &[Running], listening: &Listening) {
        if self.0.is_some() {
            let mut listeners = listening.by_service();
            let mut watched = |Running { service, .. }: &Running| {
                Watched::new(service, listeners.remove(service.name.as_str()).unwrap_or_default())
            };
            self.order(Order::Follow(services.iter().map(&mut watched).collect()));
        }
    }

    /// Says from now on that the program ends.
    pub(super) fn drain(&self) {
        self.order(Order::Drain);
    }

    /// Ends the thread, and waits a little until it has.
    pub(super) fn stop(&self) {
        self.order(Order::Stop);
        if let Some(Handle { ended, .. }) = &self.0 {
            let _ = ended.recv_timeout(STOP_TIMEOUT);
        }
    }

    fn order(&self, order: Order) {
        if let Some(Handle { orders, bell, .. }) = &self.0 {
            // Where the thread is gone, nobody looks.
            let _ = orders.send(order);
            bell.ring();
        }
    }
}

impl Watched {
    fn new(service: &Service, listeners: Vec<String>) -> Watched {
        Watched {
            number: service.number,
            name: service.name.clone(),
            listeners,
            pool: service.pool.clone(),
            refusals: service.refusals.clone(),
        }
    }
}
