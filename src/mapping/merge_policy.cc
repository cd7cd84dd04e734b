#include "mapping/merge_policy.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <numeric>

#include "base/error.h"
#include "mapping/statistics.h"

namespace lamina::mapping {
namespace {

/// Rule 3 rewrites a layer only if the others have at least one block per this many of its blocks.
constexpr std::uint64_t kMaxRewrittenPerBlock = 16;

/// Rule 3 tolerates this many times the extents that a merge of all layers would leave.
constexpr std::uint32_t kToleratedOverFull = 2;

constexpr std::uint32_t kMaxRatio = 1000;
constexpr std::uint32_t kHardPerSoft = 4;

/// A "name=value" setting of a policy.
struct Setting {
  std::string_view name;
  std::uint32_t PolicyLimits::* limit;
  std::uint32_t least;
  std::uint32_t most;
};

constexpr std::array kFullSettings = {
    Setting{"cap", &PolicyLimits::soft_layers, 2, kMaxLayers},
    Setting{"hard", &PolicyLimits::hard_layers, 2, kMaxLayers},
};
constexpr std::array kTieredSettings = {
    Setting{"soft", &PolicyLimits::soft_layers, 2, kMaxLayers},
    Setting{"hard", &PolicyLimits::hard_layers, 2, kMaxLayers},
    Setting{"ratio", &PolicyLimits::size_ratio, 1, kMaxRatio},
    Setting{"mean", &PolicyLimits::mean_extents, 2, kWindowBlocks},
    Setting{"max", &PolicyLimits::max_extents, 2, kWindowBlocks},
};

std::string names_of(std::span<const Setting> settings) {
  std::string names;
  for (const Setting& setting : settings) {
    if (!names.empty()) names += ", ";
    names += setting.name;
  }
  return names;
}

Status apply_setting(std::string_view text, std::span<const Setting> settings,
                     std::string_view policy, PolicyLimits& limits) {
  const std::size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  const auto setting = std::find_if(settings.begin(), settings.end(),
                                    [&](const Setting& known) { return known.name == name; });
  if (equals == std::string_view::npos || setting == settings.end()) {
    return fail(ErrorKind::kUsage, "merge policy '{}': '{}' is not one of {}, each with =N", policy,
                text, names_of(settings));
  }
  const std::string_view value = text.substr(equals + 1);
  std::uint32_t number = 0;
  const auto [stopped, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || stopped != value.data() + value.size() || number < setting->least ||
      number > setting->most) {
    return fail(ErrorKind::kUsage,
                "merge policy '{}': {} is '{}', not a whole number from {} to {}", policy, name,
                value, setting->least, setting->most);
  }
  limits.*(setting->limit) = number;
  return {};
}

/// The blocks of the `youngest` youngest layers.
LayerLoad load_of(std::span<const LayerLoad> layers, std::size_t youngest) {
  LayerLoad sum;
  for (const LayerLoad& layer : layers.last(youngest)) {
    sum.live_blocks += layer.live_blocks;
    sum.dead_blocks += layer.dead_blocks;
  }
  return sum;
}

/// Rule 1 of the header: the smallest number that brings the count below the soft limit.
std::size_t fewest_for_count(const PolicyLimits& limits, std::size_t count) {
  if (count < limits.soft_layers) return 0;
  return std::max<std::size_t>(2, count - limits.soft_layers + 2);
}

/// Rule 2: the smallest number whose merge frees at least what it writes and leaves fewer dead than
/// live blocks.
std::size_t fewest_for_space(std::span<const LayerLoad> layers) {
  const LayerLoad all = load_of(layers, layers.size());
  if (all.dead_blocks == 0 || all.dead_blocks < all.live_blocks) return 0;
  LayerLoad chosen;
  for (std::size_t youngest = 1; youngest <= layers.size(); ++youngest) {
    const LayerLoad& layer = layers[layers.size() - youngest];
    chosen.live_blocks += layer.live_blocks;
    chosen.dead_blocks += layer.dead_blocks;
    if (youngest >= 2 && chosen.dead_blocks >= chosen.live_blocks &&
        all.dead_blocks - chosen.dead_blocks < std::max<std::uint64_t>(all.live_blocks, 1)) {
      return youngest;
    }
  }
  return layers.size();
}

/// Rule 3: the smallest number whose merge leaves no window with too many extents.
std::size_t fewest_for_windows(const PolicyLimits& limits, const Mapping& mapping,
                               std::span<const LayerLoad> layers) {
  const WindowUse now = windows_after_merge(mapping, 0);
  if (now.mean_extents <= limits.mean_extents && now.max_extents <= limits.max_extents) return 0;
  const WindowUse full = windows_after_merge(mapping, layers.size());
  const double mean = std::max<double>(limits.mean_extents, kToleratedOverFull * full.mean_extents);
  const std::uint32_t most = std::max(limits.max_extents, kToleratedOverFull * full.max_extents);
  const auto suffices = [&](std::size_t youngest) {
    const WindowUse then = windows_after_merge(mapping, youngest);
    return then.mean_extents <= mean && then.max_extents <= most;
  };
  if (suffices(0)) return 0;
  std::size_t too_few = 1;  // merging a single layer joins nothing
  std::size_t enough = layers.size();
  while (enough - too_few > 1) {
    const std::size_t middle = std::midpoint(too_few, enough);
    (suffices(middle) ? enough : too_few) = middle;
  }
  const std::uint64_t written = load_of(layers, enough).live_blocks;
  std::uint64_t largest = 0;
  for (const LayerLoad& layer : layers.last(enough)) {
    largest = std::max(largest, layer.live_blocks);
  }
  return largest <= kMaxRewrittenPerBlock * (written - largest) ? enough : 0;
}

/// Adds older layers that are of comparable size or mostly superseded.
std::size_t extend(const PolicyLimits& limits, std::span<const LayerLoad> layers,
                   std::size_t youngest) {
  std::uint64_t chosen = load_of(layers, youngest).live_blocks;
  for (; youngest < layers.size(); ++youngest) {
    const LayerLoad& older = layers[layers.size() - youngest - 1];
    const bool comparable = older.live_blocks < limits.size_ratio * chosen;
    const bool mostly_dead = older.dead_blocks > older.live_blocks;
    if (!comparable && !mostly_dead) break;
    chosen += older.live_blocks;
  }
  return youngest;
}

}  // namespace

Result<PolicyLimits> parse_policy(std::string_view text) {
  const std::size_t colon = text.find(':');
  std::string_view kind = text.substr(0, colon);
  std::string_view rest = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (text.starts_with("cap=")) {
    kind = "full";
    rest = text;
  }
  PolicyLimits limits;
  std::span<const Setting> settings;
  if (kind == "tiered") {
    settings = kTieredSettings;
  } else if (kind == "full") {
    limits.kind = PolicyKind::kFull;
    settings = kFullSettings;
  } else if (text == "off") {
    limits.kind = PolicyKind::kOff;
    return limits;
  } else {
    return fail(ErrorKind::kUsage,
                "'{}' is not a merge policy; use tiered, full (or cap=N, which is full with a "
                "limit) or off",
                text);
  }
  if (colon != std::string_view::npos && rest.empty()) {
    return fail(ErrorKind::kUsage,
                "merge policy '{}': nothing follows the colon; expected any of {}", text,
                names_of(settings));
  }
  limits.hard_layers = 0;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    LAMINA_RETURN_IF_ERROR(apply_setting(rest.substr(0, comma), settings, text, limits));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
    if (rest.empty()) {
      return fail(ErrorKind::kUsage, "merge policy '{}' ends with a comma", text);
    }
  }
  if (limits.hard_layers == 0) {
    limits.hard_layers = std::min<std::uint32_t>(kHardPerSoft * limits.soft_layers, kMaxLayers);
  }
  if (limits.hard_layers < limits.soft_layers) {
    return fail(ErrorKind::kUsage,
                "merge policy '{}': a pause would wait at {} layers, before they are merged at {}; "
                "set a larger hard limit",
                text, limits.hard_layers, limits.soft_layers);
  }
  return limits;
}

std::string policy_text(const PolicyLimits& limits) {
  switch (limits.kind) {
    case PolicyKind::kOff:
      return "off";
    case PolicyKind::kFull:
      return fmt::format("full:cap={},hard={}", limits.soft_layers, limits.hard_layers);
    case PolicyKind::kTiered:
      break;
  }
  return fmt::format("tiered:soft={},hard={},ratio={},mean={},max={}", limits.soft_layers,
                     limits.hard_layers, limits.size_ratio, limits.mean_extents,
                     limits.max_extents);
}

std::size_t layers_to_merge(const PolicyLimits& limits, const Mapping& mapping,
                            std::span<const LayerLoad> layers) {
  assert(layers.size() == mapping.layers().size());
  const std::size_t count = layers.size();
  if (limits.kind == PolicyKind::kOff || count < 2) return 0;
  if (limits.kind == PolicyKind::kFull) return count >= limits.soft_layers ? count : 0;
  const std::size_t fewest = std::max({fewest_for_count(limits, count), fewest_for_space(layers),
                                       fewest_for_windows(limits, mapping, layers)});
  return fewest == 0 ? 0 : extend(limits, layers, fewest);
}

bool must_wait(const PolicyLimits& limits, std::size_t layer_count) {
  return limits.kind != PolicyKind::kOff && layer_count >= limits.hard_layers;
}

}  // namespace lamina::mapping
