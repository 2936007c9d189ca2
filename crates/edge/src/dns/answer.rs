//! From the bytes of a question to the bytes of its answer, or to the decision that others must answer. Pure.

use super::{
    TTL,
    zone::{Content, Place, Zone},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, PTR, SOA},
    },
};

/// A DNS header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;
/// Longest answer by UDP without EDNS (RFC 1035, 4.2.1).
const PLAIN_UDP: u16 = 512;
/// Longest answer by UDP that is never fragmented on usual networks (DNS flag day 2020), a pod's MTU included.
const SAFE_UDP: u16 = 1232;
/// Longest answer by TCP (RFC 1035, 4.2.2).
const TCP: u16 = u16::MAX;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream.
    Tcp,
}

/// What to do with a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send this.
    Reply(Vec<u8>),
    /// Ask others.
    Forward,
    /// Not a question: no answer, or two servers could answer each other for ever.
    Ignore,
}

/// Judges one question.
pub fn judge(zone: &Zone, bytes: &[u8], transport: Transport) -> Verdict {
    // The highest bit of the third byte says "answer".
    if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
        return Verdict::Ignore;
    }
    let Ok(question) = Message::from_vec(bytes) else { return Verdict::Reply(refusal(bytes, ResponseCode::FormErr)) };
    if question.metadata.op_code != OpCode::Query {
        return Verdict::Reply(refusal(bytes, ResponseCode::NotImp));
    }
    let [query] = &question.queries[..] else { return Verdict::Reply(refusal(bytes, ResponseCode::FormErr)) };
    let place = zone.find(query.name());
    if place == Place::Elsewhere {
        return Verdict::Forward;
    }
    let limit = match (transport, &question.edns) {
        (Transport::Tcp, _) => TCP,
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(_)) => question.max_payload().clamp(PLAIN_UDP, SAFE_UDP),
    };
    Verdict::Reply(
        encode(respond(zone, &question, query, &place), limit).unwrap_or_else(|| refusal(bytes, ResponseCode::ServFail)),
    )
}

/// A reply with nothing but a code, for questions that cannot be read or answered: id, kind and "recursion desired" are the
/// question's.
pub fn refusal(question: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = vec![0; HEADER];
    reply[..2].copy_from_slice(&question[..2]);
    reply[2] = 0x80 | (question[2] & 0x79);
    reply[3] = 0x80 | code.low();
    reply
}

fn respond(zone: &Zone, question: &Message, query: &Query, place: &Place<'_>) -> Message {
    let mut reply = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    if let Some(asked) = &question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(SAFE_UDP);
        reply.set_edns(edns);
        if asked.version() > 0 {
            reply.metadata.response_code = ResponseCode::BADVERS;
            return reply;
        }
    }
    if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY) {
        reply.metadata.response_code = ResponseCode::Refused;
        return reply;
    }
    match place {
        Place::Known(content) => add_content(&mut reply, zone.domain(), query, content),
        Place::Unknown => reply.metadata.response_code = ResponseCode::NXDomain,
        Place::NotTold | Place::Elsewhere => reply.metadata.response_code = ResponseCode::ServFail,
    }
    reply.metadata.authoritative = reply.metadata.response_code != ResponseCode::ServFail;
    if reply.metadata.authoritative && reply.answers.is_empty() {
        reply.add_authority(soa(zone.domain()));
    }
    reply
}

fn add_content(reply: &mut Message, domain: &Name, query: &Query, content: &Content<'_>) {
    let wants = |kind| query.query_type() == kind || query.query_type() == RecordType::ANY;
    let name = || query.name().clone();
    match content {
        Content::Addresses(addresses, turn) if wants(RecordType::A) => {
            let (before, after) = addresses.split_at((*turn).min(addresses.len()));
            let records = after.iter().chain(before).map(|a| Record::from_rdata(name(), TTL, RData::A(A(*a))));
            reply.answers = records.collect();
        }
        Content::Pointer(to) if wants(RecordType::PTR) => {
            if let Ok(to) = Name::from_ascii(to).and_then(|to| to.append_domain(domain)) {
                reply.add_answer(Record::from_rdata(name(), TTL, RData::PTR(PTR(to))));
            }
        }
        Content::Apex if wants(RecordType::SOA) => {
            reply.add_answer(soa(domain));
        }
        _ => {}
    }
}

/// The domain's authority. Its last number is how long "does not exist" may be kept (RFC 2308, section 5).
fn soa(domain: &Name) -> Record {
    let below = |label: &str| domain.prepend_label(label).unwrap_or_else(|_| domain.clone());
    let soa = SOA::new(below("ns"), below("hostmaster"), 1, 60, 60, 60, TTL);
    Record::from_rdata(domain.clone(), TTL, RData::SOA(soa))
}

/// The reply as bytes. One that is too long carries as many answers as fit, and says that there is more by TCP.
fn encode(mut reply: Message, limit: u16) -> Option<Vec<u8>> {
    let bytes = reply.to_vec().ok()?;
    if bytes.len() <= usize::from(limit) {
        return Some(bytes);
    }
    reply.metadata.truncation = true;
    let answers = std::mem::take(&mut reply.answers);
    let rest = reply.to_vec().ok()?.len();
    // All our answers are of one length, since they repeat one name.
    let each = (bytes.len() - rest).div_ceil(answers.len().max(1)).max(1);
    let fit = usize::from(limit).saturating_sub(rest) / each;
    reply.answers = answers.into_iter().take(fit).collect();
    reply.to_vec().ok().filter(|bytes| bytes.len() <= usize::from(limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::assignment::NameTable;
    use proptest::prelude::*;
    use std::{net::Ipv4Addr, sync::Arc};

    fn zone(count: u8) -> Zone {
        let names = [("web".to_owned(), (0..count).map(|i| Ipv4Addr::new(10, 88, 1, i)).collect())];
        let zone = Zone::new(Name::from_ascii("internal.").unwrap(), Some("10.88.0.0/16".parse().unwrap()));
        zone.with(Arc::new(NameTable { names: names.into(), ..NameTable::default() }))
    }

    fn question(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        if let Some(payload) = payload {
            message.set_edns(Edns::new().set_max_payload(payload).clone());
        }
        message.to_vec().unwrap()
    }

    fn reply(zone: &Zone, bytes: &[u8], transport: Transport) -> (Message, usize) {
        match judge(zone, bytes, transport) {
            Verdict::Reply(bytes) => (Message::from_vec(&bytes).unwrap(), bytes.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_asked_decides_what_is_answered() {
        let zone = zone(2);
        for (name, kind, code, answers, authorities) in [
            ("web.internal.", RecordType::A, ResponseCode::NoError, 2, 0),
            ("web.internal.", RecordType::ANY, ResponseCode::NoError, 2, 0),
            ("web.internal.", RecordType::AAAA, ResponseCode::NoError, 0, 1),
            ("nope.internal.", RecordType::A, ResponseCode::NXDomain, 0, 1),
            ("internal.", RecordType::SOA, ResponseCode::NoError, 1, 0),
            ("internal.", RecordType::A, ResponseCode::NoError, 0, 1),
            ("1.1.88.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NoError, 1, 0),
        ] {
            let (reply, _) = reply(&zone, &question(name, kind, None), Transport::Udp);
            let seen = (reply.metadata.response_code, reply.answers.len(), reply.authorities.len());
            assert_eq!(seen, (code, answers, authorities), "{name} {kind}");
            assert!(reply.metadata.authoritative && reply.metadata.recursion_desired && reply.metadata.id == 7);
            assert!(reply.all_sections().all(|record| record.ttl == TTL));
        }
        assert_eq!(judge(&zone, &question("example.org.", RecordType::A, None), Transport::Udp), Verdict::Forward);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        let zone = zone(100);
        for (payload, transport, whole, limit) in [
            (None, Transport::Udp, false, 512),
            (Some(600), Transport::Udp, false, 600),
            (Some(4096), Transport::Udp, false, 1232),
            (None, Transport::Tcp, true, 65_535),
        ] {
            let (reply, length) = reply(&zone, &question("web.internal.", RecordType::A, payload), transport);
            assert_eq!(reply.metadata.truncation, !whole);
            assert_eq!(reply.answers.len() == 100, whole);
            assert!(reply.answers.len() > 20 && length <= limit && (whole || length + 16 > limit), "{length} of {limit}");
            assert_eq!(reply.edns.is_some(), payload.is_some());
        }
    }

    #[test]
    fn strange_questions_get_a_code_and_answers_get_nothing() {
        let zone = zone(1);
        let mut bytes = question("web.internal.", RecordType::A, None);
        bytes[2] |= 0x80;
        assert_eq!(judge(&zone, &bytes, Transport::Udp), Verdict::Ignore);
        assert_eq!(judge(&zone, &bytes[..11], Transport::Udp), Verdict::Ignore);
        let mut update = question("web.internal.", RecordType::A, None);
        update[2] = 5 << 3;
        assert_eq!(reply(&zone, &update, Transport::Udp).0.metadata.response_code, ResponseCode::NotImp);
        let cut = &question("web.internal.", RecordType::A, None)[..20];
        assert_eq!(reply(&zone, cut, Transport::Udp).0.metadata.response_code, ResponseCode::FormErr);
        let none = &[0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(reply(&zone, none, Transport::Udp).0.metadata.response_code, ResponseCode::FormErr);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let zone = zone(3);
            if let Verdict::Reply(reply) = judge(&zone, &bytes, Transport::Udp) {
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(reply[2] & 0x80 != 0 && reply.len() <= 1232);
            }
        }
    }
}
