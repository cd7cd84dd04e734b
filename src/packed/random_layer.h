// For tests: layers with random extents and contents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "format/trailer.h"
#include "packed/data_key.h"
#include "packed/pack_writer.h"

namespace lamina::packed {

/// A layer in memory: its trailer, and its stored blocks in order.
struct RandomLayer {
  format::Trailer trailer;
  std::vector<std::byte> blocks;
};

/// Layers of 1 to `max_blocks` blocks of memory, of both layouts; blocks that compress well, badly
/// and not at all; also layers that store nothing.
RandomLayer make_random_layer(std::mt19937_64& random, std::uint32_t max_blocks);

/// Writes the layer's file as `name` in the directory `path`, and opens it as a chain of one.
engine::Chain write_and_open(const RandomLayer& layer, const std::string& path,
                             const std::string& name);

/// The layer as a packed object. Fails the test if it cannot be packed.
std::vector<std::byte> pack(const RandomLayer& layer, const PackSettings& settings);

/// A key with one byte repeated.
DataKey key_of(std::uint8_t number);

}  // namespace lamina::packed
