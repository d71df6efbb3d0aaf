//! What a result depends on: processor, kernel, C library, compiler, and who else was running.

use std::{fs, thread, time::Duration};

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
    /// CPUs that other programs kept busy before the run began.
    busy: f64,
}

impl Machine {
    /// Looks at this one; takes a second.
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
            busy: busy_cpus(),
        }
    }

    /// In one sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { cpu, cpus, kernel, glibc, rustc, real_time, busy } = self;
        let priority = if *real_time { "real-time" } else { "normal" };
        let load = if *busy > 0.1 {
            format!("**the machine was busy**: other programs used {busy:.1} of the {cpus} CPUs")
        } else {
            "the machine was idle".to_owned()
        };
        format!(
            "{cpu}, {cpus} CPUs, Linux {kernel}, glibc {glibc}, {rustc}, {priority} priority; {load}"
        )
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

/// CPUs that are busy while this process sleeps for a second.
fn busy_cpus() -> f64 {
    let idle_and_all = || {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let numbers: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        let idle: f64 = numbers.iter().skip(3).take(2).sum();
        (idle, numbers.iter().take(8).sum::<f64>())
    };
    let (idle_before, all_before) = idle_and_all();
    thread::sleep(Duration::from_secs(1));
    let (idle, all) = idle_and_all();
    let share = 1.0 - (idle - idle_before) / (all - all_before).max(1.0);
    share * thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}
