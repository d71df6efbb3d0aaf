//! Hosts of other minors, and what they lend.

use tallyport_plugin_api::abi::{TALLYPORT_CANCELLED, TALLYPORT_LIMIT};

use super::lives;
use crate::{
    data,
    sys::{
        call::{Age, CallShape},
        desk::{HostShape, Misuse, strays},
        instance::{Ask, Instance},
        snapshot::{Layout, Lent},
    },
    trial::{Done, Stop, Trial, broken, expect_no_panic, expect_same, lend},
};

/// Exports on a host of another shape: the same bytes, or a refusal where that is allowed.
fn other_host(trial: &Trial<'_>, shape: HostShape, may_refuse: bool, what: &str) -> Done {
    trial.needs_metrics()?;
    let frozen = data::standard();
    for format in trial.formats() {
        let plain = trial.reference(format, &frozen)?;
        let instance = match trial.try_create(shape, trial.options.as_bytes())? {
            Ok(instance) => instance,
            Err(answer) if may_refuse => return expect_no_panic(&answer, "`create`"),
            Err(answer) => return Stop::fail(format!("{what}: `create` answered {answer}")),
        };
        let layout = Layout { age: shape.age, ..Layout::default() };
        let lent = Lent::new(&frozen, layout).map_err(broken)?;
        let call = CallShape { age: shape.age, ..CallShape::default() };
        let done = trial.ask(&instance, format, &lent, Ask { call, ..Ask::default() })?;
        expect_no_panic(&done.answer, what)?;
        if !done.answer.ok() {
            if may_refuse {
                continue;
            }
            return Stop::fail(format!("{what}: `{format}` answered {}", done.answer));
        }
        expect_same(&done.sink.bytes, &plain, &format!("{what}: its export and this host's"))?;
        trial.shutdown(&instance)?;
    }
    Ok(())
}

pub(super) fn newer(trial: &mut Trial<'_>) -> Done {
    let shape = HostShape { age: Age::Newer, ..HostShape::default() };
    other_host(trial, shape, false, "on a newer host")
}

pub(super) fn older(trial: &mut Trial<'_>) -> Done {
    let shape = HostShape { age: Age::Older, ..HostShape::default() };
    other_host(trial, shape, true, "on an older host")
}

pub(super) fn sparse(trial: &mut Trial<'_>) -> Done {
    let shape = HostShape { sparse: true, ..HostShape::default() };
    other_host(trial, shape, true, "on a host without optional services")
}

pub(super) fn borrowed(trial: &mut Trial<'_>) -> Done {
    trial.needs_metrics()?;
    let (first, second) = (data::standard(), data::numbers());
    for format in trial.formats() {
        // Options that lie somewhere: an empty text is no pointer to keep.
        let options = if trial.options.is_empty() { "{}" } else { trial.options };
        let instance = match trial.try_create(HostShape::default(), options.as_bytes())? {
            Ok(instance) => instance,
            Err(answer) => {
                return Stop::fail(format!(
                    "`create` with the options {options} answered {answer}"
                ));
            }
        };
        // Kept until the end, so that nothing else gets their addresses.
        let mut over = Vec::new();
        for frozen in [&first, &second, &first] {
            let lent = lend(frozen)?;
            let done = trial.ask(&instance, format, &lent, Ask::default())?;
            lent.close().map_err(broken)?;
            done.call.close().map_err(broken)?;
            over.push((lent, done));
        }
        instance.flush().map_err(broken)?;
        trial.shutdown(&instance)?;
        drop(instance);
        drop(over);
    }
    Ok(())
}

pub(super) fn read_only(trial: &mut Trial<'_>) -> Done {
    trial.needs_metrics()?;
    let layout = Layout { locked: true, ..Layout::default() };
    let lent = Lent::new(&data::standard(), layout).map_err(broken)?;
    let instance = trial.create()?;
    for format in trial.formats() {
        trial.export(&instance, format, &lent)?;
    }
    Ok(())
}

pub(super) fn services(trial: &mut Trial<'_>) -> Done {
    let found = lives::rich(trial)?;
    let judged =
        [Misuse::Handle, Misuse::Text, Misuse::Domain, Misuse::Thread, Misuse::AfterDestroy];
    if let Some(text) = judged.iter().find_map(|kind| found.get(kind)) {
        return Stop::fail(text.clone());
    }
    match strays() {
        0 => Ok(()),
        times => Stop::fail(format!(
            "{times} services were called with a pointer that is not the host table they lie in"
        )),
    }
}

/// Exports that are refused half-way, for lives that want everything.
pub(super) fn refused(trial: &Trial<'_>, instance: &Instance<'_>, format: &str) -> Done {
    use crate::sys::{
        call::Cancel,
        desk::{Refuse, Sink},
    };
    let lent = lend(&data::many(2_000))?;
    for status in [TALLYPORT_LIMIT, TALLYPORT_CANCELLED] {
        let sink = Sink { refuse: Refuse::AtWrite(0, status), ..Sink::default() };
        trial.ask(instance, format, &lent, Ask { sink, ..Ask::default() })?;
    }
    let call = CallShape { cancel: Cancel::AtPoll(1), ..CallShape::default() };
    trial.ask(instance, format, &lent, Ask { call, ..Ask::default() })?;
    Ok(())
}
