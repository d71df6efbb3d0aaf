//! Topics: events that were looked up once, to publish them often.

use std::sync::Arc;

use tallyport_core::{event::Topic, model::Error};
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};
use tracing::Dispatch;

use crate::{
    boundary::{fallible, plain},
    engine::tallyport_engine,
    event::with_fields,
    handles::{self, Object},
    options::tallyport_event_field,
};

/// An event of the catalogue, ready to be published. Opaque.
pub struct tallyport_topic {
    _private: (),
}

/// What a topic's handle leads to.
pub(crate) struct TopicState {
    topic: Topic,
    /// Where its engine logs.
    dispatch: Dispatch,
}

/// The topic if anybody listens, or if it is asked for anyway.
fn lookup(handle: *const tallyport_topic) -> Result<Option<Arc<TopicState>>, Error> {
    handles::lookup("topic", handle, |object| match object {
        // Most events interest nobody: their topic is not even held on to.
        Object::Topic(state) => Some(state.topic.is_heard().then(|| Arc::clone(state))),
        _ => None,
    })
}

/// Looks an event of the catalogue up.
///
/// Threads: any thread. Ownership: borrows `name`; returns owned `topic` (free with
/// tallyport_topic_free) and `err`. Errors: NOT_FOUND for an event that is not in the catalogue,
/// NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_topic_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    topic: *mut *mut tallyport_topic,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("topic", topic, || {
            let entered = call.engine(engine)?;
            let topic = entered.engine.events().topic(call.text("name", name)?)?;
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            Ok(Object::Topic(Arc::new(TopicState { topic, dispatch })))
        })
    })
}

/// Publishes a topic's event, as tallyport_event_publish does. After its engine was closed it
/// reaches nobody.
///
/// When nobody listens it returns at once, and looks at neither `correlation_id` nor `fields`.
///
/// Threads: any thread. Ownership: as tallyport_event_publish. Errors: as tallyport_event_publish,
/// when somebody listens. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_topic_publish(
    topic: *const tallyport_topic,
    correlation_id: tallyport_str,
    fields: *const tallyport_event_field,
    field_count: usize,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let Some(state) = lookup(topic)? else { return Ok(()) };
        let id = call.text_or_none("correlation_id", correlation_id)?;
        with_fields(call, fields, field_count, |fields| {
            tracing::dispatcher::with_default(&state.dispatch, || match id {
                Some(id) => state.topic.publish_as(id, fields).map(drop),
                None => {
                    state.topic.publish(fields);
                    Ok(())
                }
            })
        })
    })
}

/// Whether anybody listens to a topic's event: 1 or 0. A host may spare itself making its fields.
///
/// Threads: any thread. Ownership: borrows. Errors: 0 when `topic` is no live handle. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_topic_is_heard(topic: *const tallyport_topic) -> i32 {
    plain!(0, i32::from(lookup(topic).is_ok_and(|state| state.is_some())))
}

/// Frees a topic; calls that use it end as if it were there.
///
/// Threads: any thread. Ownership: takes `topic`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_topic_free(topic: *mut tallyport_topic) {
    plain!((), {
        handles::remove(topic, |object| matches!(object, Object::Topic(_)));
    });
}
