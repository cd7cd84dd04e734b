// The same as tables of HTML, for browsers without scripts.
#pragma once

#include <string>

#include "lamina/listing.h"
#include "schema/json.h"

namespace lamina::ui {

/// `links`: each name is a link to "plain/snapshot?name=NAME".
enum class Links : bool { kNo, kYes };

std::string store_tables(const StoreListing& listing, Links links);

/// `snapshot`: a result of snapshot_json(). `map`: whether the extents are listed.
std::string snapshot_tables(const schema::Json& snapshot);

/// "1.5 GiB".
std::string bytes_text(std::uint64_t bytes);

}  // namespace lamina::ui
