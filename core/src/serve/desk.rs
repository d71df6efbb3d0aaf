//! What a request is answered: at once, or by a worker.

use std::{io::Write, sync::Arc};

use flate2::{Compression, write::GzEncoder};

use super::{
    Settings, Site,
    answer::{Account, Answer, Draft, Manner, Share},
    negotiate::{self, Offer},
    request::{Fault, Request},
};
use crate::model::{Error, ErrorKind};

const ALLOWED: &str = "GET, HEAD";

/// What is served now, and how. A reload puts another one in its place.
pub(super) struct Desk {
    pub(super) site: Arc<dyn Site>,
    pub(super) settings: Settings,
}

/// Metrics to be written by a worker.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) manner: Manner,
    accept: Option<String>,
    gzip: bool,
}

/// How a request is answered.
#[derive(Debug)]
pub(super) enum Reply {
    Now(Answer),
    Later(Order),
}

/// The answer to a head that is none.
pub(super) fn refuse(fault: Fault) -> Answer {
    Draft::error(fault.code, "request", fault.reason).finish(Manner::LAST)
}

/// The answer to a request that nobody has time for.
pub(super) fn busy(manner: Manner, why: &str) -> Answer {
    Draft::error(503, "busy", why).finish(manner)
}

/// The answer to a request that took too long here.
pub(super) fn too_late(manner: Manner) -> Answer {
    let message = "the metrics were not ready in time; an exporter hangs, or the machine is busy";
    Draft::error(503, "timeout", message).finish(Manner { keep_alive: false, ..manner })
}

/// The answer after a panic, which is a bug.
pub(super) fn broken(manner: Manner) -> Answer {
    Draft::error(500, "internal", "a bug in Tallyport; its log has more").finish(manner)
}

impl Desk {
    pub(super) fn receive(&self, request: Request) -> Reply {
        let paths = &self.settings.paths;
        let head_only = request.method == "HEAD";
        // Of what follows a head nobody knows whether it is a body or a request.
        let manner = Manner { head_only, keep_alive: request.keep_alive && !request.body };
        let refused =
            |code, kind, reason: &str| Reply::Now(Draft::error(code, kind, reason).finish(manner));
        let metrics = request.path == paths.metrics;
        if !metrics && request.path != paths.health {
            let message = format!("nothing is here; metrics are at {}", paths.metrics);
            return refused(404, "not_found", &message);
        }
        if !head_only && request.method != "GET" {
            let draft = Draft::error(405, "method", "only GET and HEAD are answered");
            return Reply::Now(draft.field("Allow", ALLOWED).finish(manner));
        }
        if request.body {
            return refused(413, "request", "a request has no body here");
        }
        if !metrics {
            let draft = Draft::new(200, "text/plain; charset=utf-8", b"ok\n".to_vec());
            return Reply::Now(draft.finish(manner));
        }
        let access = &self.settings.access;
        if let Some(challenge) = access.challenge()
            && !access.admits(request.authorization.as_deref())
        {
            let draft = Draft::error(401, "unauthorized", "credentials are needed, or others");
            return Reply::Now(draft.field("WWW-Authenticate", challenge).finish(manner));
        }
        let gzip = self.settings.gzip && negotiate::takes_gzip(request.accept_encoding.as_deref());
        Reply::Later(Order { manner, accept: request.accept, gzip })
    }

    /// Writes the metrics.
    pub(super) fn fill(&self, order: &Order, account: &Arc<Account>) -> Answer {
        let offers = self.site.offers();
        let written = negotiate::choose(&offers, order.accept.as_deref()).map_or_else(
            || {
                Err(Error::new(
                    ErrorKind::NotFound,
                    "none of the exporters of `serve.formats` is there",
                ))
            },
            |offer| {
                let share = account.open(self.settings.bounds.answer_bytes);
                self.write(offer, order.gzip, share).map(|written| (offer, written))
            },
        );
        let draft = match written {
            Ok((offer, (body, share))) => {
                let draft = Draft::new(200, &offer.content_type, body).accounted(share);
                if order.gzip { draft.field("Content-Encoding", "gzip") } else { draft }
            }
            Err(error) => {
                tracing::warn!("metrics could not be served: {error}");
                Draft::error(503, error.kind().name(), &error.to_string())
            }
        };
        draft.field("Vary", "Accept, Accept-Encoding").finish(order.manner)
    }

    fn write(
        &self,
        offer: &Offer,
        gzip: bool,
        mut share: Share,
    ) -> Result<(Vec<u8>, Share), Error> {
        if !gzip {
            let mut body = Vec::new();
            self.site.write(offer, &mut |bytes| {
                share.grow_to(body.len() + bytes.len())?;
                body.extend_from_slice(bytes);
                Ok(())
            })?;
            return Ok((body, share));
        }
        // Text of metrics becomes a tenth at any level; the fastest costs the host least.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let failed = |error: std::io::Error| Error::io("compress an answer", &error);
        self.site.write(offer, &mut |bytes| {
            encoder.write_all(bytes).map_err(failed)?;
            share.grow_to(encoder.get_ref().len())
        })?;
        let body = encoder.finish().map_err(failed)?;
        share.grow_to(body.len())?;
        Ok((body, share))
    }
}
