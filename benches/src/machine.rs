//! What a result depends on: processor, kernel, C library, compiler, and who else was running.

use std::{fs, thread};

use serde_json::{Value, json};

use crate::raw::system;

/// The machine at the start of a run.
#[derive(Debug, Clone)]
pub struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
    glibc: String,
    rustc: &'static str,
    real_time: bool,
    /// CPUs that other programs kept busy during the run.
    busy: f64,
    begin: Ticks,
}

impl Machine {
    /// Looks at this one, before a run.
    #[must_use]
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let real_time = thread::spawn(system::real_time).join().unwrap_or(false);
        Self {
            cpu: model.map_or("unknown CPU", |(_, model)| model).to_owned(),
            cpus: system::cpus().len(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            glibc: system::glibc(),
            rustc: env!("BENCH_RUSTC"),
            real_time,
            busy: 0.0,
            begin: Ticks::now(),
        }
    }

    /// Looks at who else was running, after a run.
    pub fn finish(&mut self) {
        self.busy = Ticks::now().busy_others(self.begin);
    }

    /// In one sentence, without who else was running.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { cpu, cpus, kernel, glibc, rustc, real_time, .. } = self;
        let priority = if *real_time { "real-time" } else { "normal" };
        format!("{cpu}, {cpus} CPUs, Linux {kernel}, glibc {glibc}, {rustc}, {priority} priority")
    }

    /// In one sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let load = if self.busy > 0.1 {
            let (busy, cpus) = (self.busy, self.cpus);
            format!("**the machine was busy**: other programs used {busy:.1} of the {cpus} CPUs")
        } else {
            "the machine was idle otherwise".to_owned()
        };
        format!("{}; {load}", self.name())
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cpus": self.cpus, "kernel": self.kernel, "glibc": self.glibc,
            "rustc": self.rustc, "real_time_priority": self.real_time,
            "cpus_used_by_others": self.busy,
        })
    }
}

/// Clock ticks since a program or the machine began.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    idle: f64,
    all: f64,
    /// This process and the children it waited for.
    own: f64,
}

impl Ticks {
    fn now() -> Self {
        let numbers = |path: &str, skipped: usize| -> Vec<f64> {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().next().unwrap_or_default();
            // Behind the program's name, which may hold anything.
            let line = line.rsplit_once(')').map_or(line, |(_, rest)| rest);
            let words = line.split_whitespace().skip(skipped);
            words.map(|word| word.parse().unwrap_or(0.0)).collect()
        };
        // proc(5): idle and iowait are the 4th and 5th; steal is the 8th and last that counts.
        let machine = numbers("/proc/stat", 1);
        let idle: f64 = machine.iter().skip(3).take(2).sum();
        // utime, stime, cutime, cstime: fields 14 to 17, with the state as field 3.
        let own: f64 = numbers("/proc/self/stat", 11).iter().take(4).sum();
        Self { idle, all: machine.iter().take(8).sum(), own }
    }

    /// CPUs that others kept busy since `before`.
    fn busy_others(self, before: Self) -> f64 {
        let all = (self.all - before.all).max(1.0);
        let busy = all - (self.idle - before.idle) - (self.own - before.own);
        let cpus = thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        (busy / all * cpus).max(0.0)
    }
}
