//! `rnn inspect`: what a model file holds, and how a device would run it.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Map, Value, json};
use wgpu_rnn::cell::CellFunction;
use wgpu_rnn::onnx::{Dim, OnnxModel, Port};
use wgpu_rnn::plan::{LayerChoice, Rival};
use wgpu_rnn::{LayerSpec, Model, Strategy};

use crate::args::{ModelArgs, ModelFile};
use crate::describe;
use crate::device::{DeviceArgs, PrecisionArgs};
use crate::failure::Result;
use crate::print;
use crate::report::Reporter;
use crate::table::{Align, Table, bytes};

/// Show what a model file holds and how a device would run it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rnn inspect model.safetensors
  rnn inspect model.safetensors --shape 64x1000 --device gpu
  rnn inspect model.onnx
  rnn inspect model.safetensors --json")]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Sequences and time steps to plan for
    #[arg(long, value_name = "BxT", default_value = "1x100", value_parser = parse_shape)]
    shape: (usize, usize),

    #[command(flatten)]
    device: DeviceArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

fn parse_shape(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once(['x', '×']);
    let shape = parts.and_then(|(b, t)| Some((b.trim().parse().ok()?, t.trim().parse().ok()?)));
    match shape {
        Some((batch, steps)) if batch > 0 && steps > 0 => Ok((batch, steps)),
        _ => Err("expected sequences x time steps, such as 64x1000".to_owned()),
    }
}

/// Runs the subcommand.
///
/// # Errors
/// When the model cannot be loaded, the device opened, or the shape planned.
pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let reporter = Reporter::new(args.quiet);
    let file = args.model.load_file(&reporter)?;
    let model = file.model();
    let engine = args.precision.apply(args.device.open(Strategy::Auto, &reporter)?)?;
    let (batch, steps) = args.shape;
    let loaded = engine.load(model)?;
    let plan = loaded.explain(batch, steps)?;
    if args.json {
        let mut record = as_json(model);
        record["plan"] = json!({
            "device": engine.info().name, "batch": batch, "steps": steps, "text": plan,
        });
        if let Some(plan) = loaded.plan(batch, steps)? {
            record["plan"]["layers"] = plan.choices.iter().map(choice_json).collect();
            record["plan"]["output"] = json!(plan.head.as_ref().map(|head| &head.reason));
            record["plan"]["bytes"] = json!(plan.bytes());
        }
        if let ModelFile::Graph(graph) = &file {
            record["graph"] = json!({
                "inputs": ports_json(graph.inputs()), "outputs": ports_json(graph.outputs()),
            });
        }
        return print(&format!("{record:#}\n"));
    }
    let path = args.model.model.display();
    let mut text = format!("{path}: {}\n", describe::model_line(model));
    text.push_str(&facts(model));
    if let ModelFile::Graph(graph) = &file {
        text.push_str("\nGraph\n");
        text.push_str(&ports(graph).render("  "));
    }
    text.push_str("\nLayers\n");
    text.push_str(&layers(model).render("  "));
    text.push_str("\nTensors\n");
    text.push_str(&tensors(model).render("  "));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\nPlan for {batch} × {steps} steps on {}", engine.info().name);
    for line in plan.lines() {
        let _ = writeln!(text, "  {line}");
    }
    print(&text)
}

/// How a layer runs, and what the other strategies would take or need.
fn choice_json(choice: &LayerChoice) -> Value {
    let rival = |rival: &Rival| {
        let mut object = json!({ "strategy": rival.strategy.name() });
        match &rival.step_seconds {
            Ok(seconds) => object["predicted_step_s"] = json!(seconds),
            Err(needs) => object["needs"] = json!(needs),
        }
        object
    };
    json!({
        "strategy": choice.strategy.name(),
        "predicted_step_s": choice.step_seconds,
        "workgroup": choice.workgroup,
        "rows": choice.rows.rows(),
        "input_kernel": choice.input_kernel,
        "rivals": choice.rivals.iter().map(rival).collect::<Vec<_>>(),
    })
}

fn memory(model: &Model) -> u64 {
    u64::try_from(model.parameter_count()).unwrap_or(u64::MAX).saturating_mul(4)
}

fn facts(model: &Model) -> String {
    let info = &model.info;
    let vocabulary = info.vocabulary.as_ref().map_or_else(String::new, |vocabulary| {
        format!("{} {}s", vocabulary.tokens().len(), vocabulary.unit().name())
    });
    let forecast = if info.forecast { "each output predicts the next input" } else { "" };
    let size = format!("{} as f32", bytes(memory(model)));
    let facts = [
        ("description", info.description.clone()),
        ("made by", info.command.clone()),
        ("weights", size),
        ("vocabulary", vocabulary),
        ("columns", info.columns.join(", ")),
        ("outputs", info.outputs.join(", ")),
        ("forecast", forecast.to_owned()),
    ];
    let lines = facts.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("  {name:<12} {value}\n")).collect()
}

/// Inputs and outputs of a graph.
fn ports(graph: &OnnxModel) -> Table {
    let mut table = Table::new([("", Align::Left), ("name", Align::Left), ("shape", Align::Left)]);
    let inputs = graph.inputs().iter().map(|port| ("input", port));
    for (kind, port) in inputs.chain(graph.outputs().iter().map(|port| ("output", port))) {
        let axes: Vec<String> = port.shape.iter().map(ToString::to_string).collect();
        table.row([kind.to_owned(), port.name.clone(), format!("[{}]", axes.join(", "))]);
    }
    table
}

fn ports_json(ports: &[Port]) -> Vec<Value> {
    let axis = |dim: &Dim| match dim {
        Dim::Known(size) => json!(size),
        Dim::Named(name) => json!(name),
    };
    let shape = |port: &Port| port.shape.iter().map(axis).collect::<Vec<_>>();
    ports.iter().map(|port| json!({ "name": port.name, "shape": shape(port) })).collect()
}

fn layers(model: &Model) -> Table {
    let with_options = model.layers().iter().any(|layer| !layer.spec().options.is_default());
    let mut columns = vec![
        ("layer", Align::Right),
        ("cell", Align::Left),
        ("direction", Align::Left),
        ("inputs", Align::Right),
        ("units", Align::Right),
        ("projection", Align::Right),
        ("biases", Align::Left),
        ("outputs", Align::Right),
    ];
    if with_options {
        columns.push(("options", Align::Left));
    }
    let mut table = Table::new(columns);
    for (index, layer) in model.layers().iter().enumerate() {
        let spec = layer.spec();
        let projection =
            if spec.proj_size > 0 { spec.proj_size.to_string() } else { "-".to_owned() };
        table.row([
            index.to_string(),
            spec.cell.to_string(),
            spec.direction.name().to_owned(),
            spec.input_size.to_string(),
            spec.hidden_size.to_string(),
            projection,
            if spec.bias { "yes" } else { "no" }.to_owned(),
            spec.output_size().to_string(),
            describe::options(spec).join(", "),
        ]);
    }
    table
}

fn tensors(model: &Model) -> Table {
    let mut table =
        Table::new([("name", Align::Left), ("shape", Align::Left), ("values", Align::Right)]);
    for tensor in model.tensors() {
        table.row([tensor.name, format!("{:?}", tensor.shape), tensor.values.len().to_string()]);
    }
    table
}

/// What a cell has beside its equation; an empty object for the cell as its paper has it.
fn options_json(spec: &LayerSpec) -> Value {
    let options = &spec.options;
    let mut object = Map::new();
    if !options.functions.is_empty() {
        let function = |function: &CellFunction| {
            let [alpha, beta] = function.parameters();
            json!({ "name": function.name(), "alpha": alpha, "beta": beta })
        };
        let direction = |list: &Vec<CellFunction>| list.iter().map(function).collect::<Value>();
        object.insert("functions".into(), options.functions.iter().map(direction).collect());
    }
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.into(), value);
        }
    };
    put("clip", options.clip.map(Value::from));
    put("cell_clip", options.cell_clip.map(|bounds| json!(bounds)));
    put("peephole", options.peephole.then(|| true.into()));
    put("input_forget", options.input_forget.then(|| true.into()));
    put("layer_norm", options.layer_norm.map(Value::from));
    Value::Object(object)
}

fn as_json(model: &Model) -> Value {
    let info = &model.info;
    let layers: Vec<Value> = model
        .layers()
        .iter()
        .map(|layer| {
            let spec = layer.spec();
            json!({
                "cell": spec.cell.name(), "direction": spec.direction.name(),
                "input_size": spec.input_size, "hidden_size": spec.hidden_size,
                "proj_size": spec.proj_size, "bias": spec.bias, "options": options_json(spec),
            })
        })
        .collect();
    let head = model.head().map(|head| {
        json!({
            "output_size": head.output_size(), "activation": head.activation.name(),
            "steps": head.steps.name(), "bias": head.bias.is_some(),
        })
    });
    let tensors: Vec<Value> = model
        .tensors()
        .iter()
        .map(|tensor| json!({ "name": tensor.name, "shape": tensor.shape }))
        .collect();
    let spec = model.input().spec();
    json!({
        "input": describe::input_line(model),
        "input_size": spec.width(),
        "vocab": spec.vocab(),
        "layers": layers,
        "head": head,
        "parameters": model.parameter_count(),
        "bytes": memory(model),
        "tensors": tensors,
        "vocabulary": info.vocabulary.as_ref().map(|v| json!({
            "unit": v.unit().name(), "size": v.tokens().len(),
        })),
        "columns": info.columns,
        "outputs": info.outputs,
        "forecast": info.forecast,
        "description": info.description,
        "command": info.command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_is_two_counts() {
        assert_eq!(parse_shape("64x1000"), Ok((64, 1000)));
        for text in ["64", "0x1", "1x0", "x", "1x2x3", "-1x2"] {
            assert!(parse_shape(text).is_err(), "{text}");
        }
    }
}
