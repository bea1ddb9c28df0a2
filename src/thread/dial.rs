//! What sessions need of an I/O thread, with real sockets: registering clients, and connecting to remotes.

use log::{info, warn};
use mio::{Registry, Token};
use std::io;
use std::net::IpAddr;

use super::access_log;
use super::sessions::{Host, Sessions};
use super::tokens::Place;
use crate::access_log::Event;
use crate::base::error::error_text;
use crate::endpoint::stripe::StripeEndpoint;
use crate::endpoint::{Dialling, Endpoint, Lane, Readiness, Route, SideName, Socket};
use crate::service::access::ClientAddress;
use crate::service::admission::Admission;
use crate::service::local::LocalAddress;
use crate::service::{RemoteAddress, Service};
use crate::session::{Caller, Dial, End, Session, logs_routes};

/// The thread, as its sessions see it.
pub struct ThreadHost<'a> {
    /// Where sockets are registered.
    pub registry: &'a Registry,
    /// How many sessions there may be.
    pub admission: &'a Admission,
    /// Which thread it is.
    pub number: usize,
    /// The time of this turn, in milliseconds since the thread's origin.
    pub now: u64,
    /// The same in microseconds.
    pub now_us: u64,
}

impl<'a> ThreadHost<'a> {
    /// The thread of this number, in the turn that its sessions are in.
    pub fn new(
        registry: &'a Registry,
        admission: &'a Admission,
        number: usize,
        sessions: &Sessions<Socket>,
    ) -> ThreadHost<'a> {
        ThreadHost { registry, admission, number, now: sessions.now(), now_us: sessions.now_us() }
    }
}

impl ThreadHost<'_> {
    fn connect(
        &self,
        key: usize,
        to: &RemoteAddress,
        service: &Service,
        client: &Caller<'_, Socket>,
    ) -> io::Result<Socket> {
        let Service { local, stripe, .. } = service;
        let client_ip = if let LocalAddress::Client = local { ip_of(client) } else { None };
        let destination = if let RemoteAddress::Original = to { client.endpoint.destination() } else { None };
        let carries = client.endpoint.carries();
        let dialling = Dialling { client: carries, client_ip, destination, local, stripe, now: self.now };
        let mut socket = Socket::connect(to, &service.options, &dialling)?;
        socket.register(self.registry, Place::Side { key, side: SideName::Remote, lane: None }.token())?;
        if needs_routes(service) {
            socket.complete_names();
        }
        Ok(socket)
    }
}

/// The address of a client that has one: the one that its header says, if it is believed.
fn ip_of(client: &Caller<'_, Socket>) -> Option<IpAddr> {
    let headers = client.terms.and_then(|terms| terms.headers.as_ref());
    let told = headers.and_then(|headers| headers.client()).and_then(ClientAddress::in_header);
    match told.or_else(|| client.endpoint.client_address()) {
        Some(ClientAddress::Ip(ip)) => Some(ip),
        _ => None,
    }
}

/// Whether the system is to be asked for the addresses of ours that sessions of this service have.
fn needs_routes(service: &Service) -> bool {
    logs_routes() || service.inspectors.is_some() || service.access_log.as_ref().is_some_and(|log| log.has_routes)
}

/// The tokens of the lanes of a side of the session with this key.
pub fn lane_token(key: usize, side: SideName) -> impl Fn(Lane) -> Token {
    move |lane| Place::Side { key, side, lane: Some(lane) }.token()
}

impl Host<Socket> for ThreadHost<'_> {
    fn admit(&mut self, key: usize, client: &mut Socket, service: &Service) -> io::Result<()> {
        if needs_routes(service) {
            client.complete_names();
        }
        client.apply(&service.options)?;
        client.register(self.registry, Place::Side { key, side: SideName::Client, lane: None }.token())
    }

    fn dial(
        &mut self,
        key: usize,
        service: &Service,
        address: &RemoteAddress,
        client: &Caller<'_, Socket>,
    ) -> Dial<Socket> {
        match self.connect(key, address, service, client) {
            Ok(mut socket) => {
                if socket.has_lanes() {
                    // They are dialled now, as no event will come before.
                    self.tend(key, SideName::Remote, &mut socket, self.now);
                }
                info!("connect starting proxy to remote {}", Route(&socket, SideName::Remote));
                Dial::Started(socket)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Dial::Busy,
            Err(error) => {
                match error.raw_os_error() {
                    Some(number) => warn!("remote socket connect error errno = {number}: {}", error_text(&error)),
                    None => warn!("remote socket connect error: {}", error_text(&error)),
                }
                Dial::Failed(error)
            }
        }
    }

    fn tend(&mut self, key: usize, side: SideName, endpoint: &mut Socket, now: u64) -> Readiness {
        let ready = endpoint.tend(self.registry, &lane_token(key, side), now);
        if endpoint.stripe_mut().is_some_and(StripeEndpoint::take_released) {
            self.admission.memory_was_freed();
        }
        ready
    }

    fn has_room(&mut self) -> bool {
        self.admission.has_room_for_source()
    }

    fn count_source(&mut self) {
        self.admission.admit_source();
    }

    fn lasted(&mut self, session: &Session<Socket>) {
        if let Some(log) = &session.service().access_log {
            access_log::write(log, session, Event::Start, self.number, self.now_us);
        }
    }

    fn ends(&mut self, _key: usize, session: &Session<Socket>, end: End) {
        if let Some(log) = &session.service().access_log {
            // A client that was refused has had no session, as far as anybody can see.
            if !matches!(end, End::BadHeader | End::NotLetIn) {
                access_log::write(log, session, Event::End(session.account_of(end)), self.number, self.now_us);
            }
        }
    }

    fn ended(&mut self, _key: usize, end: End) {
        match end {
            End::MadeRoom => self.admission.session_replaced(),
            _ => self.admission.session_ended(),
        }
    }
}
