#include "store/snapshot_link.h"

#include <fcntl.h>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"

namespace lamina::store {
namespace {

Status link_named(const OpenSnapshot& source, const std::string& name, int directory,
                  const std::string& directory_path) {
  const std::string path = source.path + "/" + name;
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile opened,
      os::open_regular(source.directory.get(), name, O_RDONLY | O_NOFOLLOW, path));
  LAMINA_RETURN_IF_ERROR(link_or_copy({opened.fd.get(), opened.facts, path, source.directory.get()},
                                      name, directory, directory_path));
  return {};
}

}  // namespace

bool is_own_file(const std::string& name) {
  return name == kHeaderName || name == kFactsName || name == kLegacyLayerName ||
         parse_layer_file_name(name) || name == kNewHeaderName || name == kNewFactsName ||
         name == kNewWorkingSetName || name.starts_with(kNewLinkPrefix) ||
         name == kArrivalMarkerName;
}

bool is_reserved_name(const std::string& name) {
  return name.starts_with('.') || name.starts_with(kLegacyLayerName) || name == kFactsName ||
         name == kVmstateName || name == kWorkingSetName || name == kNewWorkingSetName ||
         name == kArrivalMarkerName;
}

Status link_other_files(const OpenSnapshot& source, int directory,
                        const std::string& directory_path) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(source.directory.get(), source.path));
  for (const std::string& name : names) {
    if (is_own_file(name)) continue;
    const Status linked = link_named(source, name, directory, directory_path);
    if (linked) continue;
    const auto facts = os::facts_of_name(source.directory.get(), name, source.path + "/" + name);
    if (!facts || facts->is_regular) return linked;
    return with_remedy(
        std::unexpected(with_context(
            fmt::format("'{}' in snapshot '{}' cannot be carried over (only files can)", name,
                        source.path),
            linked.error())),
        "move it out of the snapshot first");
  }
  return {};
}

Status link_snapshot(const OpenSnapshot& source, int directory, const std::string& directory_path,
                     std::vector<std::string>& notes, Progress* progress) {
  const bool legacy_name =
      source.header.mapping.layers().size() == 1 &&
      source.chain.layers().front().path().ends_with(std::string("/") + kLegacyLayerName);
  for (const engine::Layer& layer : source.chain.layers()) {
    LAMINA_ASSIGN_OR_RETURN(
        const bool linked,
        link_layer_as(legacy_name ? kLegacyLayerName : layer_file_name(layer.build_id()), layer,
                      source.directory.get(), directory, directory_path, progress));
    if (!linked) {
      notes.push_back(fmt::format(
          "layer '{}' was copied: a hard link from here to it is not possible", layer.path()));
    }
  }
  const auto link_rest = [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(link_named(source, kHeaderName, directory, directory_path));
    if (source.facts) {
      LAMINA_RETURN_IF_ERROR(link_named(source, kFactsName, directory, directory_path));
    }
    return link_other_files(source, directory, directory_path);
  };
  const Status done = link_rest();
  // The files of a replaced snapshot are removed one by one: some may have been missing when they
  // were listed, and nothing failed. (The layers are open.)
  const auto replaced = was_replaced(source);
  if (done && !replaced) return std::unexpected(replaced.error());
  if (replaced.value_or(false)) {
    return fail(ErrorKind::kBusy,
                "snapshot '{}' was replaced by another process meanwhile; try again", source.path);
  }
  return done;
}

}  // namespace lamina::store
