#include "remote/layer_search.h"

#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "remote/layer_match.h"
#include "store/snapshot_directory.h"

namespace lamina::remote {

Result<LayerSearch> LayerSearch::open(int store, std::string path) {
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::string> names, os::list_directory(store, path));
  std::erase_if(names, [](const std::string& name) { return name.starts_with('.'); });
  return LayerSearch(store, std::move(path), std::move(names));
}

std::optional<LocalLayer> LayerSearch::find(const packed::ObjectIndex& index) const {
  const std::string file = store::layer_file_name(index.trailer.build_id);
  for (const std::string& snapshot : snapshots_) {
    const std::string directory_path = path_ + "/" + snapshot;
    auto directory = os::open_directory(store_, snapshot, directory_path);
    if (!directory || !os::name_exists(directory->get(), file)) continue;
    auto layer = engine::Layer::open(directory->get(), file, directory_path + "/" + file,
                                     index.trailer.build_id, true, engine::Checksums::kLoad);
    if (!layer || !layer->trailer() || !is_same_layer(*layer->trailer(), index)) continue;
    return LocalLayer{std::move(*directory), std::move(*layer)};
  }
  return std::nullopt;
}

}  // namespace lamina::remote
