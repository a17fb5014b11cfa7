//! Every kernel, without a GPU: parses, validates, and agrees with its row of the table.

use std::collections::BTreeMap;

use wgpu_rnn::cell::Cell;
use wgpu_rnn::kernel::train::Stage;
use wgpu_rnn::kernel::uniforms::{
    Activate, Back, Block, Calibrate, Canary, Clear, CopyRows, Dropout, FillTexture, Gemm,
    GridCanary, LossShape, Norm, NormRows, Optimize, Recur, Sample, Squares, Step, Sum, SumLoss,
};
use wgpu_rnn::kernel::{Access, Kernel, Precision, RowTile, Rules, Variant, cell_wgsl};
use wgpu_rnn::wgpu::naga;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};

/// Every kernel with every cell and row tile that it takes.
fn variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    for kernel in Kernel::ALL {
        let spec = kernel.spec();
        let cells: Vec<Option<Cell>> = if spec.takes_cell {
            Cell::ALL.into_iter().filter(|cell| cell_wgsl(*cell).is_some()).map(Some).collect()
        } else {
            vec![None]
        };
        let tiles: Vec<Option<RowTile>> =
            if spec.takes_rows { RowTile::ALL.into_iter().map(Some).collect() } else { vec![None] };
        for cell in &cells {
            for rows in &tiles {
                for custom in [false, true] {
                    if spec.rules == Rules::Either || !custom {
                        let variant = Variant { cell: *cell, rows: *rows, ..Variant::of(kernel) };
                        let variant = Variant { custom, ..variant };
                        if kernel == Kernel::RecurStationary {
                            let consts =
                                vec![("LANES", 8), ("SHARES", 2), ("SLICES", 1), ("UNITS", 16)];
                            variants.push(Variant { consts, ..variant.clone() });
                        }
                        if kernel.can_keep_gates() && !custom {
                            variants.push(Variant { keeps_gates: true, ..variant.clone() });
                        }
                        if kernel == Kernel::RecurSplit {
                            let consts = vec![("LANES", 8)];
                            variants.push(Variant { consts, ..variant.clone() });
                        }
                        if spec.stores && !spec.matrices {
                            variants.push(Variant { precision: Precision::F16, ..variant.clone() });
                        }
                        if spec.matrices {
                            // Their weights are f16 alone.
                            let consts = vec![("THREADS", 128)];
                            let variant = Variant { precision: Precision::F16, ..variant };
                            variants.push(Variant { consts, ..variant.clone() });
                            variants.push(variant);
                            continue;
                        }
                        if kernel == Kernel::Top {
                            let consts = vec![("COUNT", 5), ("PARTS", 64), ("ITEMS", 320)];
                            variants.push(Variant { consts, ..variant.clone() });
                        }
                        variants.push(variant);
                    }
                }
            }
        }
    }
    variants
}

fn parse(variant: &Variant) -> Module {
    naga::front::wgsl::parse_str(&variant.source())
        .unwrap_or_else(|e| panic!("{variant}: {}", e.emit_to_string(&variant.source())))
}

#[test]
fn every_kernel_validates_with_no_capability_but_what_it_names() {
    let variants = variants();
    assert!(variants.len() > 40, "the table lost rows: {}", variants.len());
    for variant in variants {
        let module = parse(&variant);
        let mut capabilities = Capabilities::empty();
        capabilities.set(Capabilities::SUBGROUP, variant.shuffles());
        // Packing two f16 into a word: every wgpu device but old GL ones.
        let is_half = variant.precision == Precision::F16;
        capabilities.set(Capabilities::SHADER_FLOAT16_IN_FLOAT32, is_half);
        let matrices = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16;
        capabilities.set(matrices, variant.has_matrices());
        Validator::new(ValidationFlags::all(), capabilities)
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{variant}: {e:?}"));
    }
}

fn texture(inner: &TypeInner) -> Access {
    let TypeInner::Image { dim, arrayed, class } = inner else { panic!("{inner:?}") };
    assert!(*dim == naga::ImageDimension::D2 && !arrayed, "{inner:?}");
    match class {
        naga::ImageClass::Storage { format: naga::StorageFormat::Rgba32Float, access } => {
            match (access.contains(StorageAccess::LOAD), access.contains(StorageAccess::STORE)) {
                (true, false) => Access::ReadTexture,
                (false, true) => Access::WriteTexture,
                (true, true) => Access::ReadWriteTexture,
                (false, false) => panic!("{inner:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bindings_equal_the_table() {
    for variant in variants() {
        let module = parse(&variant);
        let mut found: BTreeMap<u32, (String, Access)> = BTreeMap::new();
        for (_, global) in module.global_variables.iter() {
            let Some(binding) = &global.binding else { continue };
            assert_eq!(binding.group, 0, "{variant}");
            let access = match global.space {
                AddressSpace::Uniform => Access::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                    Access::ReadWrite
                }
                AddressSpace::Storage { .. } => Access::Read,
                AddressSpace::Handle => texture(&module.types[global.ty].inner),
                ref other => panic!("{variant}: {other:?}"),
            };
            found.insert(binding.binding, (global.name.clone().expect("named"), access));
        }
        let table: BTreeMap<u32, (String, Access)> = (0u32..)
            .zip(variant.bindings())
            .map(|(index, (name, access))| {
                let access = if access == Access::StepUniform { Access::Uniform } else { access };
                (index, (name.to_owned(), access))
            })
            .collect();
        assert_eq!(found, table, "{variant}");
    }
}

#[test]
fn overrides_equal_the_table() {
    for variant in variants() {
        let module = parse(&variant);
        let mut found: Vec<&str> =
            module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        let mut table = variant.override_names();
        found.sort_unstable();
        table.sort_unstable();
        assert_eq!(found, table, "{variant}");
    }
}

#[test]
fn kernels_stay_inside_webgpu_default_binding_limits() {
    for kernel in Kernel::ALL {
        let spec = kernel.spec();
        let storage = spec
            .bindings
            .iter()
            .filter(|(_, access)| matches!(access, Access::Read | Access::ReadWrite))
            .count();
        assert!(storage <= 8, "{}: {storage} storage buffers", spec.name);
    }
}

/// Finds the uniform struct of a kernel and compares names, offsets, sizes and scalar kinds.
fn check_block<B: Block>(kernel: Kernel, binding: &str) {
    let mut variant = Variant::of(kernel);
    let spec = kernel.spec();
    variant.cell = spec.takes_cell.then_some(Cell::Lstm);
    variant.rows = spec.takes_rows.then_some(RowTile::Four);
    let module = parse(&variant);
    let (_, global) = module
        .global_variables
        .iter()
        .find(|(_, g)| g.name.as_deref() == Some(binding))
        .unwrap_or_else(|| panic!("{variant}: no binding {binding}"));
    let ty = &module.types[global.ty];
    assert_eq!(ty.name.as_deref(), Some(B::NAME), "{variant}");
    let TypeInner::Struct { members, span } = &ty.inner else { panic!("{variant}: no struct") };
    assert_eq!(*span as usize, size_of::<B>(), "{variant}: size of {}", B::NAME);
    assert_eq!(members.len(), B::FIELDS.len(), "{variant}");
    for (index, (member, field)) in members.iter().zip(B::FIELDS).enumerate() {
        assert_eq!(member.name.as_deref(), Some(*field), "{variant}: field {index}");
        assert_eq!(member.offset as usize, index * 4, "{variant}: offset of {field}");
        let scalar = module.types[member.ty].inner.scalar_kind();
        assert_eq!(scalar, Some(ScalarKind::Uint), "{variant}: kind of {field}");
    }
}

#[test]
fn uniform_blocks_equal_their_rust_structs() {
    for kernel in Kernel::ALL {
        for (binding, access) in kernel.spec().bindings {
            match (*binding, access) {
                ("recur", Access::Uniform) => check_block::<Recur>(kernel, binding),
                ("gemm", Access::Uniform) => check_block::<Gemm>(kernel, binding),
                ("norm", Access::Uniform) if kernel == Kernel::Train(Stage::Norm) => {
                    check_block::<Norm>(kernel, binding)
                }
                ("shape", Access::Uniform)
                    if matches!(kernel, Kernel::Train(Stage::Loss | Stage::Ctc)) =>
                {
                    check_block::<LossShape>(kernel, binding)
                }
                ("shape", Access::Uniform) => check_block::<Activate>(kernel, binding),
                ("norm", Access::Uniform) => check_block::<NormRows>(kernel, binding),
                ("rows", Access::Uniform) => check_block::<CopyRows>(kernel, binding),
                ("canary", Access::Uniform) => check_block::<Canary>(kernel, binding),
                ("back", Access::Uniform) => check_block::<Back>(kernel, binding),
                ("dropout", Access::Uniform) => check_block::<Dropout>(kernel, binding),
                ("sum_loss", Access::Uniform) => check_block::<SumLoss>(kernel, binding),
                ("sum", Access::Uniform) => check_block::<Sum>(kernel, binding),
                ("squares", Access::Uniform) => check_block::<Squares>(kernel, binding),
                ("optimize", Access::Uniform) => check_block::<Optimize>(kernel, binding),
                ("clear", Access::Uniform) => check_block::<Clear>(kernel, binding),
                ("fill", Access::Uniform) => check_block::<FillTexture>(kernel, binding),
                ("sample", Access::Uniform) => check_block::<Sample>(kernel, binding),
                ("grid", Access::Uniform) => check_block::<GridCanary>(kernel, binding),
                ("calibrate", Access::Uniform) => check_block::<Calibrate>(kernel, binding),
                ("step", Access::StepUniform) => check_block::<Step>(kernel, binding),
                (other, Access::Uniform | Access::StepUniform) => {
                    panic!("{}: uniform {other} is compared with nothing", kernel.spec().name)
                }
                _ => {}
            }
        }
    }
}

fn shader_files(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("shaders/").flatten() {
        let path = entry.path();
        if path.is_dir() {
            shader_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[test]
fn exp_and_tanh_are_spelled_in_one_file() {
    let mut files = Vec::new();
    shader_files(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")), &mut files);
    assert!(files.len() >= 15, "{files:?}");
    for path in files {
        let text = std::fs::read_to_string(&path).expect("readable");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let code = line.split("//").next().unwrap_or(line);
            let spelled = ["tanh(", "exp("].iter().any(|word| {
                code.match_indices(word)
                    .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            });
            assert!(!spelled || path.ends_with("lib/activation.wgsl"), "{path:?}: {line}");
        }
    }
}
