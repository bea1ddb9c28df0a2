//! The header of the PROXY protocol that a remote gets: before all else on its stream, or in front of datagrams.

use log::warn;
use std::io;

use super::connect::Failure;
use super::end::log_error;
use super::{Dialer, Outcome, Phase, Session, Turn};
use crate::endpoint::{Carries, Endpoint, HeaderPlace, Route, SideName};
use crate::flow::retry;
use crate::proxy_header::Version;

impl<E: Endpoint> Session<E> {
    /// The version of the header that goes to the remote's stream.
    fn header_for_stream(&self) -> Option<Version> {
        let version = self.service.proxy.as_ref()?.send?;
        self.remote.as_ref().filter(|remote| remote.endpoint.header_place() == HeaderPlace::Stream)?;
        Some(version)
    }

    /// Has our header stand in front of the datagrams that go to a remote.
    pub(super) fn add_header(&self, remote: &mut E) {
        let Some(proxy) = &self.service.proxy else { return };
        let Some(version) = proxy.send.filter(|_| remote.header_place() == HeaderPlace::Datagrams) else { return };
        let mut header = Vec::new();
        self.onward_header().write(version, &mut header);
        remote.add_header(header.into(), proxy.datagrams);
    }

    /// The remote is connected: bytes may move as soon as it has the header that it is to have.
    pub(super) fn connected(
        &mut self,
        give_up: u64,
        turn: &mut Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Outcome {
        let Some(version) = self.header_for_stream() else {
            self.open(turn);
            return self.relay(turn);
        };
        let mut header = std::mem::take(&mut turn.pools.encoded);
        header.clear();
        self.onward_header().write(version, &mut header);
        let sent = self.send_header(&header);
        let is_whole = sent.map(|sent| {
            if sent < header.len() {
                self.headers_mut().unsent = header[sent..].to_vec();
                self.phase = Phase::Introducing { give_up };
            }
            sent == header.len()
        });
        turn.pools.encoded = header;
        self.after_sending(is_whole, give_up, turn, dialer)
    }

    /// Sends what is left of the header.
    // Apart from what a run of any other session costs.
    #[inline(never)]
    pub(super) fn introduce(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        let Phase::Introducing { give_up } = self.phase else { return Outcome::Waiting };
        let mut unsent = std::mem::take(&mut self.headers_mut().unsent);
        let sent = self.send_header(&unsent).map(|sent| {
            unsent.drain(..sent);
            unsent.is_empty()
        });
        self.headers_mut().unsent = unsent;
        self.after_sending(sent, give_up, turn, dialer)
    }

    /// What a run comes to that has sent the header, wholly or in part.
    fn after_sending(
        &mut self,
        is_whole: io::Result<bool>,
        give_up: u64,
        turn: &mut Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Outcome {
        match is_whole {
            Ok(true) => {
                self.open(turn);
                self.relay(turn)
            }
            Ok(false) if turn.now < give_up => Outcome::Waiting,
            Ok(false) => {
                if let Some(remote) = &self.remote {
                    warn!("connect timeout proxy to remote {}", Route(&remote.endpoint, SideName::Remote));
                }
                self.try_next_address(Failure::Timeout, turn, dialer)
            }
            Err(error) => {
                if let Some(remote) = &self.remote {
                    log_error(&remote.endpoint, &error);
                }
                self.try_next_address(Failure::Error(error), turn, dialer)
            }
        }
    }

    /// Sends what the remote takes of these bytes, and says how many they are.
    fn send_header(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes_follow = self.bytes_follow();
        let Some(remote) = &mut self.remote else { return Ok(0) };
        if std::mem::take(&mut remote.ready.error) {
            if let Some(error) = remote.endpoint.take_error() {
                return Err(error);
            }
        }
        let mut sent = 0;
        while sent < bytes.len() && remote.ready.writable {
            match retry(|| remote.endpoint.send_header(&bytes[sent..], bytes_follow)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    sent += count;
                    remote.ready.writable = !E::SHORT_MEANS_BLOCKED || sent == bytes.len();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => remote.ready.writable = false,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Whether bytes of the client are certainly sent next, so that they may go together with the header.
    fn bytes_follow(&self) -> bool {
        let carries_bytes = |endpoint: &E| endpoint.carries() == Carries::Bytes;
        // A cap may hold them back.
        let is_capped = self.terms.as_ref().is_some_and(|terms| terms.caps.is_some());
        !is_capped
            && self.client.ready.readable
            && carries_bytes(&self.client.endpoint)
            && self.remote.as_ref().is_some_and(|remote| carries_bytes(&remote.endpoint))
            && self.client.endpoint.has_unread()
    }
}
