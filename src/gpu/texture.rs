//! Textures that kernels read as arrays (`shaders/lib/texel.wgsl`).

use super::weights::Part;
use super::{Gpu, count, pipelines};
use crate::kernel::Access;
use crate::plan::{TEXTURE_LINE, TexturePlan};

/// One vec4f a texel.
pub(super) const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba32Float;
/// Bytes of a texel.
const TEXEL_BYTES: u32 = 16;
/// Bytes of a line: a multiple of the 256 that copies ask for.
const LINE_BYTES: u32 = TEXTURE_LINE * TEXEL_BYTES;

/// What reading storage textures asks of a device.
pub(crate) const TEXTURE_FEATURE: wgpu::Features =
    wgpu::Features::TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES;

/// Lines that a texture may have, or 0 where shaders cannot read and write storage textures of [`FORMAT`].
pub(super) fn lines_of(device: &wgpu::Device) -> u32 {
    let limits = device.limits();
    let has_limits = limits.max_texture_dimension_2d >= TEXTURE_LINE
        && limits.max_storage_textures_per_shader_stage >= 2;
    if !(has_limits && device.features().contains(TEXTURE_FEATURE)) {
        return 0;
    }
    // Which formats the feature covers depends on the adapter, which a borrowed device does not name.
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let entries: Vec<_> = (0..)
        .zip([Access::ReadTexture, Access::ReadWriteTexture])
        .map(|(binding, access)| pipelines::entry(binding, access))
        .collect();
    let _layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("storage textures"),
        entries: &entries,
    });
    match pollster::block_on(scope.pop()) {
        None => limits.max_texture_dimension_2d,
        Some(_) => 0,
    }
}

impl Gpu {
    /// Makes a texture that kernels read and write, and copies fill.
    pub(super) fn texture(&self, plan: &TexturePlan) -> wgpu::Texture {
        count(&self.made.buffers);
        self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some(&plan.label),
            // The plan holds no more than the device has lines.
            size: lines(u32::try_from(plan.lines()).unwrap_or(u32::MAX)),
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: FORMAT,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        })
    }

    /// Makes a texture that holds a copy of part of a buffer.
    pub(super) fn texture_of(&self, label: &str, part: &Part) -> wgpu::TextureView {
        let values = part.bytes / u64::from(TEXEL_BYTES);
        let texture = self.texture(&TexturePlan { label: label.into(), values });
        let mut encoder =
            self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let (whole, rest) = (values / u64::from(TEXTURE_LINE), values % u64::from(TEXTURE_LINE));
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        let copies = [
            (0, lines(whole)),
            (whole, wgpu::Extent3d { width: u32::try_from(rest).unwrap_or(0), ..lines(1) }),
        ];
        for (first, size) in copies {
            if size.width == 0 || size.height == 0 {
                continue;
            }
            let source = wgpu::TexelCopyBufferInfo {
                buffer: &part.buffer,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: part.at + u64::from(first) * u64::from(LINE_BYTES),
                    bytes_per_row: Some(LINE_BYTES),
                    rows_per_image: None,
                },
            };
            let origin = wgpu::Origin3d { x: 0, y: first, z: 0 };
            let target = wgpu::TexelCopyTextureInfo { origin, ..texture.as_image_copy() };
            encoder.copy_buffer_to_texture(source, target, size);
        }
        self.queue.submit([encoder.finish()]);
        texture.create_view(&wgpu::TextureViewDescriptor::default())
    }

    /// Fills a texture with NaN, so that a read of what was never written shows.
    pub(super) fn poison_texture(&self, texture: &wgpu::Texture) {
        let size = texture.size();
        let words =
            usize::try_from(u64::from(size.width) * u64::from(size.height) * 4).unwrap_or(0);
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(LINE_BYTES),
            rows_per_image: None,
        };
        let values = vec![f32::NAN; words];
        self.queue.write_texture(
            texture.as_image_copy(),
            bytemuck::cast_slice(&values),
            layout,
            size,
        );
    }
}

const fn lines(count: u32) -> wgpu::Extent3d {
    wgpu::Extent3d { width: TEXTURE_LINE, height: count, depth_or_array_layers: 1 }
}
