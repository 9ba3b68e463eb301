//! What came of a run: as text, as Markdown for the README, and as a chart.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;
use std::process::Command;

use super::chart::{self, Bar};
use super::contestants::{BASE, FLOOR, LUA, NATIVE, OURS};
use super::cpu::Cpu;
use super::load::Load;
use super::measured::Instructions;
use super::scale::Growth;
use super::targets::{self, Target, thousands};
use super::workload::Shape;
use super::{BenchError, folder};
use crate::envoy::EnvoyBinary;
use crate::soak;

/// Every figure of a run. `Display` is for a terminal.
pub struct Report {
    targets: Vec<Target>,
    instructions: Instructions,
    cpu: Cpu,
    scale: Vec<Growth>,
    soak: Option<soak::Report>,
    /// What was measured, where and when.
    versions: String,
}

impl Report {
    pub(super) fn new(
        binary: &EnvoyBinary,
        valgrind: String,
        load: Load,
        cpu: Cpu,
        instructions: Instructions,
        scale: Vec<Growth>,
        soak: Option<soak::Report>,
    ) -> Self {
        let targets = targets::all(&load, &cpu, &instructions, soak.as_ref());
        let versions = format!(
            "{}: commit {}, Envoy {}, {valgrind}, {}.",
            output("date", &["-u", "+%Y-%m-%d"]),
            option_env!("GIT_COMMIT").unwrap_or("unknown"),
            binary.version().unwrap_or_default(),
            processor(),
        );
        Self { targets, instructions, cpu, scale, soak, versions }
    }

    /// Whether no target is missed.
    pub fn is_met(&self) -> bool {
        self.targets.iter().all(|target| target.met != Some(false))
    }

    /// Writes `report.md` and `chart.svg`, and says where.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub fn write(&self) -> Result<String, BenchError> {
        let folder = folder();
        let write = |path: &Path, text: String| {
            fs::write(path, text).map_err(|error| BenchError::File(path.to_owned(), error))
        };
        fs::create_dir_all(&folder).map_err(|error| BenchError::File(folder.clone(), error))?;
        let (table, picture) = (folder.join("report.md"), folder.join("chart.svg"));
        write(&table, self.markdown().unwrap_or_default())?;
        write(&picture, self.chart())?;
        Ok(format!("{}\n{}", table.display(), picture.display()))
    }

    fn chart(&self) -> String {
        let bar = |label, name| Bar {
            label,
            plain: self.instructions.of(name, Shape::Plain),
            browser: Some(self.instructions.of(name, Shape::Browser)).filter(|it| !it.is_nan()),
            is_ours: name == OURS,
        };
        chart::draw(
            &[
                bar("session-token-filter: verifies, moves, strips, sanitises", OURS),
                bar("floor: Wasm that writes constants", FLOOR),
                bar("header_to_metadata + header_mutation + jwt_authn: strips nothing", NATIVE),
                bar("Lua + jwt_authn: the same job", LUA),
            ],
            &self.versions,
        )
    }

    fn markdown(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        writeln!(text, "{}\n", self.versions)?;
        writeln!(text, "Instructions of Envoy's worker for one request, over those of the same")?;
        writeln!(text, "request without a filter; ratios are of those.\n")?;
        writeln!(text, "| target | bound | figure | |\n| --- | --- | --- | --- |")?;
        for Target { what, figure, bound, met } in &self.targets {
            writeln!(text, "| {what} | {bound} | {figure} | {} |", verdict(*met))?;
        }
        writeln!(
            text,
            "\n| on the path | request | instructions | CPU µs |\n| --- | --- | --- | --- |"
        )?;
        for (shape, count) in &self.instructions.base {
            let cpu = self.micros(BASE, *shape);
            writeln!(
                text,
                "| no filter (in all) | {} | {} | {cpu} |",
                word(*shape),
                thousands(*count)
            )?;
        }
        for (name, title, shape, over) in &self.instructions.rows {
            let cpu = self.micros(name, *shape);
            writeln!(text, "| {title} | {} | {} | {cpu} |", word(*shape), thousands(*over))?;
        }
        if !self.scale.is_empty() {
            writeln!(text, "\n| what grows | instructions by size |\n| --- | --- |")?;
        }
        for Growth { what, sizes } in &self.scale {
            writeln!(text, "| {what} | {} |", growth(sizes))?;
        }
        writeln!(text, "\n{}", self.flood())?;
        if let Some(soak) = &self.soak {
            writeln!(text, "\n```text\n{soak}\n```")?;
        }
        Ok(text)
    }

    fn micros(&self, name: &str, shape: Shape) -> String {
        let figure = match (shape, name) {
            (Shape::Plain, BASE) => self.cpu.micros.get(BASE).copied().unwrap_or(f64::NAN),
            (Shape::Plain, _) => self.cpu.over(name),
            (Shape::Browser | Shape::Bearer | Shape::Large(_), _) => f64::NAN,
        };
        if figure.is_nan() { String::new() } else { format!("{figure:.1}") }
    }

    fn flood(&self) -> String {
        let flood = &self.cpu.flood;
        let [base, repeated, different] = flood.by_clock.map(thousands);
        format!(
            "Requests a second of the worker's CPU time, from eight connections: no filter {}, \
             the same forged token {}, forged tokens that all differ {} (by the clock {base}, \
             {repeated}, {different}).",
            thousands(flood.base),
            thousands(flood.repeated),
            thousands(flood.different),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.versions)?;
        writeln!(f, "instructions over no filter, CPU µs over no filter:")?;
        for (name, title, shape, over) in &self.instructions.rows {
            let (word, cpu) = (word(*shape), self.micros(name, *shape));
            writeln!(f, "  {title:<66} {word:<8} {:>9} {cpu:>6}", thousands(*over))?;
        }
        let base = self.instructions.base.get(&Shape::Plain).copied().unwrap_or(f64::NAN);
        let cpu = self.micros(BASE, Shape::Plain);
        writeln!(
            f,
            "  {:<66} {:<8} {:>9} {cpu:>6}\n",
            "no filter, in all",
            "plain",
            thousands(base)
        )?;
        for Growth { what, sizes } in &self.scale {
            writeln!(f, "  {what:<32} {}", growth(sizes))?;
        }
        writeln!(f, "\n{}\n", self.flood())?;
        if let Some(soak) = &self.soak {
            writeln!(f, "{soak}\n")?;
        }
        for Target { what, figure, bound, met } in &self.targets {
            writeln!(f, "  {what:<76} {figure:>8}  {bound:<9} {}", verdict(*met))?;
        }
        Ok(())
    }
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "",
    }
}

fn word(shape: Shape) -> &'static str {
    match shape {
        Shape::Plain => "plain",
        Shape::Browser => "browser",
        Shape::Bearer => "bearer",
        Shape::Large(_) => "large",
    }
}

fn growth(sizes: &[(usize, f64)]) -> String {
    let parts = sizes
        .iter()
        .map(|(size, over)| format!("{}: {}", thousands(*size as f64), thousands(*over)));
    parts.collect::<Vec<_>>().join(" · ")
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let name = model.map_or(std::env::consts::ARCH, |(_, name)| name);
    format!("{cores} cores of {name}")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
