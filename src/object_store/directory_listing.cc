#include "object_store/directory_listing.h"

#include <fcntl.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "object_store/key.h"
#include "os/clock.h"
#include "os/directory.h"
#include "os/fd.h"
#include "os/file.h"

namespace lamina::object_store {
namespace {

/// A file, or a directory with a slash at its end.
struct Node {
  std::string path;
  os::FileFacts facts;
};

class Lister {
 public:
  Lister(const ListQuery& query, std::string object) : query_(query), object_(std::move(object)) {}

  // As deep as a key has segments.
  // NOLINTNEXTLINE(misc-no-recursion)
  Status visit(int directory, const std::string& base) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<Node> nodes, nodes_of(directory, base));
    for (const Node& node : nodes) {
      if (is_full()) return {};
      if (node.facts.is_directory) {
        LAMINA_RETURN_IF_ERROR(descend(directory, base, node));
      } else {
        add(node);
      }
    }
    return {};
  }

  std::vector<Entry> take() { return std::move(entries_); }

 private:
  [[nodiscard]] bool is_full() const { return entries_.size() > query_.max_keys; }

  Result<std::vector<Node>> nodes_of(int directory, const std::string& base) const {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory, object_));
    std::vector<Node> nodes;
    for (const std::string& name : names) {
      if (base.empty() && name == kIncomingName) continue;
      Node node{.path = base + name, .facts = {}};
      if (!check_key(node.path) || !may_have_keys(node.path)) continue;
      const auto facts = os::facts_of_name(directory, name, object_);
      if (!facts) {
        if (facts.error().kind == ErrorKind::kNotFound) continue;
        return std::unexpected(facts.error());
      }
      node.facts = *facts;
      if (node.facts.is_directory) node.path += '/';
      if (node.facts.is_directory || node.facts.is_regular) nodes.push_back(std::move(node));
    }
    std::ranges::sort(nodes, {}, &Node::path);
    return nodes;
  }

  /// False if neither `path` nor a path below it is asked for.
  [[nodiscard]] bool may_have_keys(std::string_view path) const {
    const std::string_view prefix = query_.prefix;
    const std::string_view after = query_.after;
    if (!path.starts_with(prefix) && !prefix.starts_with(path)) return false;
    return path > after || after.starts_with(path);
  }

  // NOLINTNEXTLINE(misc-no-recursion)
  Status descend(int directory, const std::string& base, const Node& node) {
    if (!may_have_keys(node.path)) return {};
    const std::string name = node.path.substr(base.size(), node.path.size() - base.size() - 1);
    const auto child = os::open_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, object_);
    if (!child) {
      if (child.error().kind == ErrorKind::kNotFound) return {};
      return std::unexpected(child.error());
    }
    return visit(child->get(), node.path);
  }

  void add(const Node& node) {
    if (!node.path.starts_with(query_.prefix) || node.path <= query_.after) return;
    entries_.push_back(Entry{.key = node.path,
                             .size_bytes = node.facts.size_bytes,
                             .modified = std::chrono::sys_seconds(std::chrono::seconds(
                                 node.facts.modified_ns / os::kNanosecondsPerSecond))});
  }

  const ListQuery& query_;
  std::string object_;
  std::vector<Entry> entries_;
};

}  // namespace

Result<std::vector<Entry>> list_objects(int root, const ListQuery& query,
                                        const std::string& object) {
  Lister lister(query, object);
  LAMINA_RETURN_IF_ERROR(lister.visit(root, ""));
  return lister.take();
}

}  // namespace lamina::object_store
