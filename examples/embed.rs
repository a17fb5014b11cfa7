//! An application that owns its wgpu device records a network into its own frame.
//!
//! ```text
//! cargo run --example embed
//! ```
//! The application opens the device (with our limits merged into its own), makes the buffers, owns the
//! command encoder and submits. The network adds dispatches between the application's own passes; its
//! state stays on the GPU from frame to frame. Prints the prediction of each frame.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use wgpu_rnn::wgpu;
use wgpu_rnn::{Engine, Model, SessionOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // 1. The application's own set-up. Here any adapter will do, software included.
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter =
        pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: Engine::required_limits(),
        required_features: Engine::required_features(),
        ..wgpu::DeviceDescriptor::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;

    // 2. Borrow the device; load a network; one session for B = 1, one step a frame, state carried.
    let engine = Engine::from_device(device.clone(), queue.clone())?;
    let model = Model::load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/sunspots.safetensors"))?;
    let loaded = engine.load(&model)?;
    let options = SessionOptions { carry_state: true, ..SessionOptions::default() };
    let session = loaded.session(1, 1, options)?;

    // 3. Buffers of the application.
    let buffer = |size, usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    };
    let input =
        buffer(session.input_bytes(), wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST);
    let output =
        buffer(session.output_bytes(), wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let shown =
        buffer(session.output_bytes(), wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);

    // 4. The frame loop.
    for (frame, sunspots) in [29.0f32, 88.0, 122.0, 138.0, 103.0].into_iter().enumerate() {
        queue.write_buffer(&input, 0, &sunspots.to_le_bytes());
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        // … the application's own passes …
        session.encode(&mut encoder, &input, &output)?;
        // … a render pass may bind `output` directly; here it is read back to be printed …
        encoder.copy_buffer_to_buffer(&output, 0, &shown, 0, Some(4));
        queue.submit([encoder.finish()]);

        shown.map_async(wgpu::MapMode::Read, .., |_| {});
        device.poll(wgpu::PollType::wait_indefinitely())?;
        let prediction = f32::from_le_bytes(shown.get_mapped_range(..)?[..4].try_into()?);
        shown.unmap();
        println!("frame {frame}: in {sunspots:6.1}, predicted next {prediction:6.1}");
    }
    Ok(())
}
