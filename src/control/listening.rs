//! The table of what is listened on: binds what is new, keeps what stays, and tells the threads.

use log::info;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::address::EndpointAddress;
use crate::endpoint::source::SourceSocket;
use crate::endpoint::tcp::TcpListener;
use crate::endpoint::{Binding, ListenError, Listener};
use crate::service::Service;
use crate::thread::change::{Change, Kept, ListenerId};

/// Who takes clients from a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Acceptor,
    /// The I/O thread of this number, which accepts for itself.
    Thread(usize),
    /// The I/O thread of this number, which reads datagrams of sources.
    Sources(usize),
}

/// One address, and the listeners or sockets that are bound to it.
#[derive(Debug)]
struct Entry {
    address: EndpointAddress,
    /// The name of its service.
    service: String,
    /// The port that the system picked, where it did.
    picked: Option<u16>,
    bound: Vec<(ListenerId, Home)>,
}

impl Entry {
    /// Where it is, at the port that the system picked.
    fn bound_address(&self) -> EndpointAddress {
        match self.picked {
            Some(port) => self.address.clone().with_port(port),
            None => self.address.clone(),
        }
    }
}

/// A listener or a socket that was bound just now.
enum Fresh {
    Listener(Listener),
    Sources(SourceSocket),
}

impl Fresh {
    fn port(&self) -> Option<u16> {
        match self {
            Fresh::Listener(listener) => listener.port(),
            Fresh::Sources(socket) => socket.udp_address().map(|address| address.port()),
        }
    }
}

/// One address that was bound just now, for a service.
struct Addition {
    address: EndpointAddress,
    service: Arc<Service>,
    picked: Option<u16>,
    bound: Vec<(Home, Fresh)>,
}

/// A service, and where it is to listen.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The service.
    pub service: &'a Arc<Service>,
    /// Its addresses.
    pub addresses: Vec<&'a EndpointAddress>,
    /// How many clients may wait to be accepted at each of them.
    pub backlog: i32,
}

/// All that is to be changed, bound already; dropping it leaves everything as it was.
pub struct Plan {
    /// Entries that stay, by their place in the table.
    kept: HashMap<usize, (Arc<Service>, i32)>,
    added: Vec<Addition>,
    /// The ports that the system picked.
    pub picked: Vec<Picked>,
}

/// A port that the system picked, for this service and this address, by their numbers among those that are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Picked {
    /// The service.
    pub service: usize,
    /// Which of its addresses.
    pub address: usize,
    /// The port.
    pub port: u16,
}

impl Plan {
    /// How many descriptors it has opened.
    pub fn descriptors(&self) -> usize {
        let descriptors = |addition: &Addition| addition.bound.len() * addition.address.descriptors_of_listener();
        self.added.iter().map(descriptors).sum()
    }
}

/// What each thread is to be told.
#[derive(Debug, Default)]
pub struct Changes {
    /// The acceptor.
    pub acceptor: Change<Listener>,
    /// Each I/O thread.
    pub threads: Vec<(Change<Listener>, Change<SourceSocket>)>,
}

/// Everything that is listened on.
#[derive(Debug)]
pub struct Listening {
    entries: Vec<Entry>,
    io_threads: usize,
    /// Whether each I/O thread accepts for itself.
    reuse_port: bool,
    /// The I/O thread that reads the next socket which cannot be shared.
    next_thread: usize,
    /// Sockets of sources that were removed; they may be open until the sessions of their sources have ended.
    removed: HashMap<EndpointAddress, Vec<(ListenerId, Home)>>,
}

impl Listening {
    /// Nothing yet.
    pub fn new(io_threads: usize, reuse_port: bool) -> Listening {
        Listening { entries: Vec::new(), io_threads, reuse_port, next_thread: 0, removed: HashMap::new() }
    }

    /// How many descriptors all that is listened on takes.
    pub fn descriptors(&self) -> usize {
        self.entries.iter().map(|entry| entry.bound.len() * entry.address.descriptors_of_listener()).sum()
    }

    /// What the threads are to be told so that sockets are closed which were removed, and whose addresses are wanted
    /// again; `None`: there are no such.
    pub fn free(&mut self, wanted: &[Wanted<'_>]) -> Option<Changes> {
        let there: HashSet<&EndpointAddress> = self.entries.iter().map(|entry| &entry.address).collect();
        let mut changes = self.no_changes();
        let mut any = false;
        for &address in wanted.iter().flat_map(|wanted| &wanted.addresses) {
            if !there.contains(address) {
                for (id, home) in self.removed.remove(address).into_iter().flatten() {
                    changes.remove(home, id);
                    any = true;
                }
            }
        }
        any.then_some(changes)
    }

    /// Everything that is listened on, at the ports that the system picked.
    pub fn addresses(&self) -> Vec<EndpointAddress> {
        self.entries.iter().map(Entry::bound_address).collect()
    }

    /// The same by the names of the services, as text.
    pub fn by_service(&self) -> HashMap<&str, Vec<String>> {
        let mut by_service: HashMap<&str, Vec<String>> = HashMap::new();
        for entry in &self.entries {
            by_service.entry(&entry.service).or_default().push(entry.bound_address().to_string());
        }
        by_service
    }

    fn no_changes(&self) -> Changes {
        let mut changes = Changes::default();
        changes.threads.resize_with(self.io_threads, Default::default);
        changes
    }

    /// Binds what is wanted and not there yet.
    ///
    /// # Errors
    ///
    /// One line for each address that cannot be listened on. Nothing has changed then.
    pub fn prepare(&mut self, wanted: &[Wanted<'_>]) -> Result<Plan, Vec<String>> {
        let mut there: HashMap<&EndpointAddress, VecDeque<usize>> = HashMap::new();
        for (place, entry) in self.entries.iter().enumerate() {
            there.entry(&entry.address).or_default().push_back(place);
        }
        let mut plan = Plan { kept: HashMap::new(), added: Vec::new(), picked: Vec::new() };
        let mut missing = Vec::new();
        for (of, Wanted { service, addresses, backlog }) in wanted.iter().enumerate() {
            for (number, &address) in addresses.iter().enumerate() {
                let picked = move |port| Picked { service: of, address: number, port };
                match there.get_mut(address).and_then(VecDeque::pop_front) {
                    Some(place) => {
                        plan.kept.insert(place, (Arc::clone(service), *backlog));
                        plan.picked.extend(self.entries[place].picked.map(picked));
                    }
                    None => missing.push((*service, address, *backlog, picked)),
                }
            }
        }
        let ports_of_v4: HashSet<Port> =
            wanted.iter().flat_map(|wanted| &wanted.addresses).filter_map(|address| Port::of_v4(address)).collect();
        let mut errors = Vec::new();
        for (service, address, backlog, picked_for) in missing {
            // Both 0.0.0.0 and [::] can be listened at if the latter leaves IPv4 to the former.
            let only_v6 = Port::of_any_v6(address).is_some_and(|port| ports_of_v4.contains(&port));
            match self.bind(address, Binding { backlog, shared: false, only_v6 }) {
                Ok(bound) => {
                    let any_port = address.port() == Some(0);
                    let picked = bound.first().filter(|_| any_port).and_then(|(_, fresh)| fresh.port());
                    plan.picked.extend(picked.map(picked_for));
                    let (address, service) = (address.clone(), service.clone());
                    plan.added.push(Addition { address, service, picked, bound });
                }
                Err(error) => errors.push(service.named(&error)),
            }
        }
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    /// Makes a plan true in the table, and says what the threads are to be told.
    pub fn commit(&mut self, plan: Plan) -> Changes {
        let mut changes = self.no_changes();
        let entries = std::mem::take(&mut self.entries);
        for (place, mut entry) in entries.into_iter().enumerate() {
            match plan.kept.get(&place) {
                Some((service, backlog)) => {
                    entry.service.clone_from(&service.name);
                    for &(id, home) in &entry.bound {
                        changes.keep(home, Kept { id, service: service.clone(), backlog: *backlog });
                    }
                    self.entries.push(entry);
                }
                None => {
                    info!("no longer listening on {}", entry.address);
                    entry.bound.iter().for_each(|&(id, home)| changes.remove(home, id));
                    if entry.address.is_connectionless() {
                        self.removed.insert(entry.address, entry.bound);
                    }
                }
            }
        }
        for Addition { address, service, picked, bound } in plan.added {
            let mut entry = Entry { address, service: service.name.clone(), picked, bound: Vec::new() };
            for (home, fresh) in bound {
                let id = ListenerId::next();
                log_listening(&fresh, &service);
                changes.add(home, id, fresh, &service);
                entry.bound.push((id, home));
            }
            self.entries.push(entry);
        }
        changes
    }

    /// Binds everything that one address needs.
    fn bind(&mut self, address: &EndpointAddress, binding: Binding) -> Result<Vec<(Home, Fresh)>, ListenError> {
        match address {
            EndpointAddress::Udp(address) => self.bind_udp(*address, binding),
            EndpointAddress::UnixDatagram(address) => {
                let socket = SourceSocket::unix(address)?;
                let thread = self.next_thread;
                self.next_thread = (thread + 1) % self.io_threads;
                Ok(vec![(Home::Sources(thread), Fresh::Sources(socket))])
            }
            address => match shareable(address).filter(|_| self.reuse_port) {
                Some((tcp, wrap)) => self.bind_for_each_thread(tcp, wrap, binding),
                None => Ok(vec![(Home::Acceptor, Fresh::Listener(Listener::bind(address, binding)?))]),
            },
        }
    }

    /// Binds one UDP socket for each I/O thread where the kernel deals senders to them, and one otherwise.
    fn bind_udp(&self, mut address: SocketAddr, binding: Binding) -> Result<Vec<(Home, Fresh)>, ListenError> {
        let dealt = cfg!(any(target_os = "linux", target_os = "android", target_os = "freebsd"));
        let threads = if dealt { self.io_threads } else { 1 };
        if threads > 1 {
            // Sockets that share an address do not notice that another program has it: one that does not share does.
            drop(SourceSocket::udp(address, binding)?);
        }
        let mut bound = Vec::with_capacity(threads);
        for thread in 0..threads {
            let socket = SourceSocket::udp(address, Binding { shared: threads > 1, ..binding })?;
            address = socket.udp_address().unwrap_or(address);
            bound.push((Home::Sources(thread), Fresh::Sources(socket)));
        }
        Ok(bound)
    }

    /// Binds one listener for each I/O thread; where the port is 0, all to the one that the system picks first.
    fn bind_for_each_thread(
        &self,
        mut address: SocketAddr,
        wrap: Wrap,
        binding: Binding,
    ) -> Result<Vec<(Home, Fresh)>, ListenError> {
        let mut bound = Vec::with_capacity(self.io_threads);
        for thread in 0..self.io_threads {
            let listener = TcpListener::bind(address, Binding { shared: true, ..binding })?;
            address = listener.address();
            bound.push((Home::Thread(thread), Fresh::Listener(wrap(Listener::Tcp(listener)))));
        }
        Ok(bound)
    }
}

/// A port of TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Port {
    Tcp(u16),
    Udp(u16),
}

impl Port {
    /// That of an IPv4 address.
    fn of_v4(address: &EndpointAddress) -> Option<Port> {
        Port::of(address, |address| address.is_ipv4())
    }

    /// That of `[::]`.
    fn of_any_v6(address: &EndpointAddress) -> Option<Port> {
        Port::of(address, |address| address.is_ipv6() && address.ip().is_unspecified())
    }

    fn of(address: &EndpointAddress, matches: fn(&SocketAddr) -> bool) -> Option<Port> {
        match address {
            // Any free port is another for each.
            EndpointAddress::Tcp(address) | EndpointAddress::Udp(address) if address.port() == 0 => None,
            EndpointAddress::Tcp(address) => matches(address).then(|| Port::Tcp(address.port())),
            EndpointAddress::Udp(address) => matches(address).then(|| Port::Udp(address.port())),
            EndpointAddress::Stripe(stripe) => Port::of(&EndpointAddress::Tcp(stripe.first()), matches),
            EndpointAddress::Framed(stream) => Port::of(stream, matches),
            _ => None,
        }
    }
}

fn log_listening(fresh: &Fresh, service: &Service) {
    let of = if service.name.is_empty() { String::new() } else { format!(", service {}", service.name) };
    match fresh {
        Fresh::Listener(listener) => info!("listening on {listener}{of}"),
        Fresh::Sources(socket) => info!("listening on {socket}{of}"),
    }
}

/// Makes the listener of an address from one of the stream that it is over.
type Wrap = fn(Listener) -> Listener;

/// The TCP address that several listeners can be bound to, and what is made of these.
fn shareable(address: &EndpointAddress) -> Option<(SocketAddr, Wrap)> {
    match address {
        EndpointAddress::Tcp(address) => Some((*address, |listener| listener)),
        EndpointAddress::Framed(stream) => match **stream {
            EndpointAddress::Tcp(address) => Some((address, Listener::framed)),
            _ => None,
        },
        _ => None,
    }
}

impl Changes {
    fn add(&mut self, home: Home, id: ListenerId, fresh: Fresh, service: &Arc<Service>) {
        let service = service.clone();
        match (home, fresh) {
            (Home::Acceptor, Fresh::Listener(listener)) => self.acceptor.added.push((id, listener, service)),
            (Home::Thread(thread) | Home::Sources(thread), Fresh::Listener(listener)) => {
                self.threads[thread].0.added.push((id, listener, service));
            }
            (Home::Thread(thread) | Home::Sources(thread), Fresh::Sources(socket)) => {
                self.threads[thread].1.added.push((id, socket, service));
            }
            (Home::Acceptor, Fresh::Sources(_)) => debug_assert!(false, "the acceptor reads no datagrams"),
        }
    }

    fn keep(&mut self, home: Home, kept: Kept) {
        match home {
            Home::Acceptor => self.acceptor.kept.push(kept),
            Home::Thread(thread) => self.threads[thread].0.kept.push(kept),
            Home::Sources(thread) => self.threads[thread].1.kept.push(kept),
        }
    }

    fn remove(&mut self, home: Home, id: ListenerId) {
        match home {
            Home::Acceptor => self.acceptor.removed.push(id),
            Home::Thread(thread) => self.threads[thread].0.removed.push(id),
            Home::Sources(thread) => self.threads[thread].1.removed.push(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Endpoints;

    #[test]
    fn what_is_over_tcp_takes_a_port_of_tcp() {
        let address = |argument: &str| Endpoints::parse(argument).unwrap().addresses.remove(0);
        for prefix in ["", "framed:", "stripe:", "framed:stripe:"] {
            let address = |rest: &str| address(&format!("{prefix}{rest}"));
            assert_eq!(Port::of_v4(&address("0.0.0.0:5")), Some(Port::Tcp(5)), "{prefix}");
            assert_eq!(Port::of_any_v6(&address("[::]:5")), Some(Port::Tcp(5)), "{prefix}");
            assert_eq!(Port::of_any_v6(&address("[::1]:5")), None, "{prefix}");
            assert_eq!(Port::of_v4(&address("0.0.0.0:0")), None, "{prefix}");
        }
        assert_eq!(Port::of_v4(&address("udp:0.0.0.0:5")), Some(Port::Udp(5)));
    }
}
