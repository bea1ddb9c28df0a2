//! A session whose client begins with a header of the PROXY protocol: who the client is, is known only then.
//!
//! What is behind the header is not read with it, so it needs no place: it is as if the connection began there.

use log::info;
use std::fmt;
use std::io;

use super::end::pending_error;
use super::{Dialer, End, Outcome, Phase, Session, Turn};
use crate::address::OriginalForm;
use crate::base::error::error_text;
use crate::base::text::Escaped;
use crate::config::proxy::HeaderOf;
use crate::endpoint::{Endpoint, HeaderPlace, Lifetime, Received, Route, SideName};
use crate::flow::{Side, retry};
use crate::proxy_header::{Addresses, Malformed, Parsed, ProxyHeader, Tlvs, Transport, parse};
use crate::service::access::ClientAddress;
use crate::service::pool::{ClientKey, Reservation};
use crate::service::refusals::{Reason, Refused};

/// Bytes read at once, at most: few headers are longer.
const READ: usize = 256;

/// What the headers of a session say, or have still to say.
#[derive(Debug, Default)]
pub struct Headers {
    /// What has come of the client's.
    pub(super) came: Vec<u8>,
    /// What has not gone of ours to the remote that is connected.
    pub(super) unsent: Vec<u8>,
    /// What the client's says, where it is believed.
    client: Option<Box<ProxyHeader>>,
    /// The remote is to be dialled a little later.
    waits: bool,
    /// Its place among the sessions of remotes, until it has chosen one.
    reservation: Option<Reservation>,
}

impl Headers {
    /// Between whom the client's connection is, by its header; `None`: its real addresses hold.
    pub fn client(&self) -> Option<&Addresses> {
        let addresses = self.client.as_ref().map(|header| &header.addresses);
        addresses.filter(|addresses| !matches!(addresses, Addresses::Local | Addresses::Unknown))
    }
}

/// Why a client is not introduced.
#[derive(Debug)]
enum Bad {
    Header(Malformed),
    Ended { began: bool },
    Broken(io::Error),
    Late,
}

/// The header that a datagram begins with, and how long it is.
///
/// # Errors
///
/// It does not begin with a whole one.
pub fn header_of(datagram: &[u8]) -> Result<(ProxyHeader, usize), Malformed> {
    match parse(datagram)? {
        Parsed::Complete { header, length } => Ok((header, length)),
        Parsed::Incomplete { .. } => Err(Malformed::NoHeader),
    }
}

impl From<Malformed> for Bad {
    fn from(malformed: Malformed) -> Bad {
        Bad::Header(malformed)
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Header(malformed) => malformed.fmt(f),
            Bad::Ended { began: false } => f.write_str("the client said nothing"),
            Bad::Ended { began: true } => f.write_str("the client ended within the header"),
            Bad::Broken(error) => f.write_str(&error_text(error)),
            Bad::Late => f.write_str("the header did not come in time"),
        }
    }
}

impl<E: Endpoint> Session<E> {
    /// Whether the client has to say who it is; of a source it is known before it has a session.
    pub(super) fn awaits_header(&self) -> bool {
        let endpoint = &self.client.endpoint;
        self.service.takes_headers()
            && endpoint.header_place() != HeaderPlace::Nowhere
            && endpoint.lifetime() != Lifetime::Idleness
    }

    /// Waits for the client's header; `waits`: the remote is to be dialled a little later than that.
    pub(super) fn await_header(&mut self, waits: bool, now: u64) -> Outcome {
        self.headers_mut().waits = waits;
        self.phase = Phase::Header { give_up: now.saturating_add(self.service.timeouts.connect) };
        Outcome::Waiting
    }

    /// Keeps a place among the sessions of remotes until a remote is chosen, if the client is not known yet. Otherwise more
    /// clients would be let in than there is room for, and all of them would ask for it time and again.
    pub fn keep_reservation(&mut self, reservation: Reservation) {
        if let Phase::Header { .. } = self.phase {
            self.headers_mut().reservation = Some(reservation);
        }
    }

    /// Reads what has come of the client's header. When it is whole, the remote is chosen.
    // Apart from what a run of any other session costs.
    #[inline(never)]
    pub(super) fn hear_header(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        let Phase::Header { give_up } = self.phase else { return Outcome::Waiting };
        let read = match self.client.endpoint.header_place() {
            HeaderPlace::Datagrams => self.read_datagrams(turn),
            _ => self.read_header(),
        };
        match read {
            Ok(Some(header)) => self.introduced(header, turn, dialer),
            Ok(None) if give_up <= turn.now => self.is_bad(&Bad::Late, turn.now),
            Ok(None) => Outcome::Waiting,
            Err(bad) => self.is_bad(&bad, turn.now),
        }
    }

    /// The header, if it is whole, without a byte of what is behind it.
    fn read_header(&mut self) -> Result<Option<ProxyHeader>, Bad> {
        let came = &mut self.terms.get_or_insert_default().headers_mut().came;
        let Side { endpoint, ready } = &mut self.client;
        loop {
            let missing = match parse(came)? {
                Parsed::Complete { header, .. } => {
                    *came = Vec::new();
                    return Ok(Some(header));
                }
                Parsed::Incomplete { at_least } => at_least,
            };
            if !ready.readable {
                break;
            }
            let mut buffer = [0; READ];
            let asked = missing.min(READ);
            match retry(|| endpoint.receive_header(&mut buffer[..asked])) {
                Ok(0) => return Err(Bad::Ended { began: !came.is_empty() }),
                Ok(count) => {
                    came.extend_from_slice(&buffer[..count]);
                    let more = ready.read_closed || ready.urgent;
                    ready.readable = count == asked || more || !endpoint.short_read_means_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (ready.readable, ready.urgent) = (false, false);
                }
                Err(error) => return Err(Bad::Broken(error)),
            }
        }
        if std::mem::take(&mut ready.error) {
            if let Some(error) = endpoint.take_error() {
                return Err(Bad::Broken(error));
            }
        }
        Ok(None)
    }

    /// The header in the first datagram, if there is one already. That and those that came with it are kept.
    fn read_datagrams(&mut self, turn: &mut Turn<'_, E::Pipe>) -> Result<Option<ProxyHeader>, Bad> {
        if !self.client.ready.readable {
            return Ok(None);
        }
        let mut batch = std::mem::take(&mut turn.pools.batch);
        batch.clear();
        let Side { endpoint, ready } = &mut self.client;
        let header = match retry(|| endpoint.receive_datagrams(&mut batch)) {
            Ok(Received::End) => Err(Bad::Ended { began: false }),
            Ok(received) => {
                let more = received == Received::More || ready.read_closed || ready.urgent;
                ready.readable = more || !E::SHORT_MEANS_BLOCKED;
                header_of(batch.datagram(0)).map_err(Bad::from)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (ready.readable, ready.urgent) = (false, false);
                turn.pools.batch = batch;
                return Ok(None);
            }
            Err(error) => Err(Bad::Broken(error)),
        };
        let header = header.map(|(header, length)| {
            if self.service.proxy.as_ref().is_some_and(|proxy| proxy.datagrams == HeaderOf::First) {
                batch.cut_one(0, length);
            }
            self.upstream.hold(&mut batch, turn.pools);
            Some(header)
        });
        turn.pools.batch = batch;
        header
    }

    /// The session ends: the log says so now and then, as anybody can begin any number of them.
    fn is_bad(&self, bad: &Bad, now: u64) -> Outcome {
        self.service.refuse_because(Reason::Header, self.client.endpoint.client_address(), now, bad);
        Outcome::Ended(End::BadHeader)
    }

    /// The client has said who it is, and what is behind that can be read.
    fn introduced(
        &mut self,
        header: ProxyHeader,
        turn: &mut Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Outcome {
        self.note_header(header);
        let client = self.client_address();
        let terms = self.terms.get_or_insert_default();
        match self.service.let_in(terms.ticket.take(), || client, || turn.now) {
            Ok(ticket) => terms.ticket = ticket,
            Err(Refused(_)) => return Outcome::Ended(End::NotLetIn),
        }
        let Headers { waits, reservation, .. } = self.headers_mut();
        let (waits, _reservation) = (*waits, reservation.take());
        info!("accepted fd {}", self.client.endpoint.descriptor());
        self.log_client();
        if let Some(end) = pending_error(&mut self.client, SideName::Client) {
            return Outcome::Ended(end);
        }
        if waits { self.begin_later(turn.now) } else { self.begin(turn, dialer) }
    }

    /// Notes what the client's header says, where it is believed.
    pub fn note_header(&mut self, mut header: ProxyHeader) {
        let Some(proxy) = &self.service.proxy else { return };
        if !proxy.believes(self.client.endpoint.client_address()) {
            return;
        }
        if proxy.send.is_none() {
            header.tlvs = Tlvs::default();
        }
        self.headers_mut().client = Some(Box::new(header));
    }

    pub(super) fn headers_mut(&mut self) -> &mut Headers {
        self.terms.get_or_insert_default().headers_mut()
    }

    /// Between whom the client's connection is, by its header; `None`: its real addresses hold.
    pub(super) fn told_addresses(&self) -> Option<&Addresses> {
        self.terms.as_ref()?.headers.as_ref()?.client()
    }

    /// What rules know of the client.
    fn client_address(&self) -> Option<ClientAddress> {
        let told = self.told_addresses().and_then(ClientAddress::in_header);
        told.or_else(|| self.client.endpoint.client_address())
    }

    /// What the client is recognised by when it comes again.
    pub(super) fn client_key(&self) -> Option<ClientKey> {
        match self.told_addresses() {
            Some(Addresses::Ip { source, .. }) => Some(ClientKey::of_ip(source.ip())),
            Some(Addresses::Unix { source, .. }) => {
                Some(&**source).filter(|name| !name.is_empty()).map(ClientKey::of_bytes)
            }
            _ => self.client.endpoint.client_key(),
        }
    }

    /// The header that goes to the remote: what came goes on, and what did not come is said of the real connection.
    pub(super) fn onward_header(&self) -> ProxyHeader {
        let came = self.terms.as_ref().and_then(|terms| terms.headers.as_ref()?.client.as_ref());
        let addresses = self.told_addresses().cloned().unwrap_or_else(|| self.client.endpoint.addresses());
        ProxyHeader { addresses, tlvs: came.map(|header| header.tlvs.clone()).unwrap_or_default() }
    }

    /// The remote has its header, and nobody needs any longer what was for it alone.
    pub(super) fn forget_header(&mut self) {
        let Some(headers) = self.terms.as_mut().and_then(|terms| terms.headers.as_mut()) else { return };
        headers.unsent = Vec::new();
        if let Some(header) = &mut headers.client {
            header.tlvs = Tlvs::default();
        }
    }

    /// Logs who has come.
    pub(super) fn log_client(&self) {
        info!("connect client to proxy {}", self.client_route());
    }

    /// The client as the log names it.
    pub(super) fn client_route(&self) -> ClientRoute<'_, E> {
        ClientRoute { told: self.told_addresses(), endpoint: &self.client.endpoint }
    }
}

/// Who connected to whom: by the client's header, if it is believed, and through whom then.
pub(super) struct ClientRoute<'a, E> {
    told: Option<&'a Addresses>,
    endpoint: &'a E,
}

impl<E: Endpoint> fmt::Display for ClientRoute<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.told {
            Some(told @ Addresses::Ip { destination, transport, .. }) => {
                let destination = OriginalForm(*destination);
                write!(f, "{} -> {}{destination} through ", ToldClient(told), ip_kind(*transport))?;
            }
            Some(told @ Addresses::Unix { destination, transport, .. }) => {
                let destination = UnixName(destination);
                write!(f, "{} -> {}{destination} through ", ToldClient(told), unix_kind(*transport))?;
            }
            _ => {}
        }
        Route(self.endpoint, SideName::Client).fmt(f)
    }
}

/// The client that a header names, as the log does; nothing if it names none.
pub struct ToldClient<'a>(pub &'a Addresses);

impl fmt::Display for ToldClient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Addresses::Ip { source, transport, .. } => write!(f, "{}{}", ip_kind(*transport), OriginalForm(*source)),
            Addresses::Unix { source, transport, .. } => write!(f, "{}{}", unix_kind(*transport), UnixName(source)),
            Addresses::Local | Addresses::Unknown => Ok(()),
        }
    }
}

fn ip_kind(transport: Transport) -> &'static str {
    if transport == Transport::Datagram { "udp:" } else { "" }
}

fn unix_kind(transport: Transport) -> &'static str {
    if transport == Transport::Datagram { "unixgram:" } else { "unix:" }
}

/// The name of a Unix socket in a header.
struct UnixName<'a>(&'a [u8]);

impl fmt::Display for UnixName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [0, name @ ..] => write!(f, "@{}", Escaped(name)),
            path => Escaped(path).fmt(f),
        }
    }
}
