#include <gtest/gtest.h>

#include "lamina/listing.h"

namespace lamina {
namespace {

/// A pause id made of a number.
Uuid id(int number) {
  Uuid uuid;
  uuid.bytes[15] = static_cast<std::uint8_t>(number);
  return uuid;
}

SnapshotListing snapshot(const std::string& name, int pause, int parent = 0,
                         const std::string& parent_name = "") {
  SnapshotListing listing;
  listing.name = name;
  listing.pause_id = id(pause);
  if (parent != 0) listing.parent_pause_id = id(parent);
  listing.parent = parent_name;
  return listing;
}

/// "depth:name" of each row.
std::vector<std::string> shape(const std::vector<SnapshotListing>& snapshots) {
  std::vector<std::string> rows;
  for (const LineageRow& row : lineage_of(snapshots)) {
    std::string name = row.snapshot ? snapshots[*row.snapshot].name : "?" + row.missing_name;
    if (row.in_cycle) name += "@";
    if (row.snapshot && row.missing) name += "<" + row.missing_name;
    rows.push_back(std::to_string(row.depth) + ":" + name);
  }
  return rows;
}

using Rows = std::vector<std::string>;

TEST(Lineage, ChildrenAreListedAfterTheirParents) {
  EXPECT_EQ(shape({snapshot("c", 3, 2), snapshot("b", 2, 1), snapshot("a", 1), snapshot("d", 4, 1),
                   snapshot("z", 5)}),
            (Rows{"0:a", "1:b", "2:c", "1:d", "0:z"}));
}

TEST(Lineage, ForksAreSiblingsAndChildrenAreBelowTheirOwnFork) {
  EXPECT_EQ(shape({snapshot("a", 1), snapshot("b1", 2, 1), snapshot("b2", 2, 1),
                   snapshot("c", 3, 2, "b2"), snapshot("d", 4, 2, "gone")}),
            (Rows{"0:a", "1:b1", "2:d", "1:b2", "2:c"}));
}

TEST(Lineage, MissingParentHasARow) {
  EXPECT_EQ(shape({snapshot("a", 1, 9, "old")}), (Rows{"0:a<old"}));
  EXPECT_EQ(shape({snapshot("a", 1, 9, "old"), snapshot("b", 2, 9, "old"), snapshot("c", 3, 2)}),
            (Rows{"0:?old", "1:a", "1:b", "2:c"}));
}

TEST(Lineage, CyclesAreCutAndEachSnapshotAppearsOnce) {
  EXPECT_EQ(shape({snapshot("a", 1, 1)}), (Rows{"0:a@"}));
  EXPECT_EQ(shape({snapshot("a", 1, 3), snapshot("b", 2, 1), snapshot("c", 3, 2),
                   snapshot("d", 4, 3), snapshot("e", 5)}),
            (Rows{"0:e", "0:a@", "1:b", "2:c", "3:d"}));
}

TEST(Lineage, SnapshotsWithoutPauseIdAreRoots) {
  SnapshotListing damaged;
  damaged.name = "x";
  EXPECT_EQ(shape({damaged, snapshot("a", 1)}).size(), 2U);
  EXPECT_TRUE(lineage_of({}).empty());
}

TEST(Lineage, ChainOfAHundredThousandIsListed) {
  constexpr int kCount = 100'000;
  std::vector<SnapshotListing> snapshots;
  const auto long_id = [](int number) {
    Uuid uuid;
    for (std::size_t i = 0; i < 4; ++i) {
      uuid.bytes[i] = static_cast<std::uint8_t>(static_cast<unsigned>(number) >> (8U * i));
    }
    return uuid;
  };
  for (int i = 0; i < kCount; ++i) {
    SnapshotListing listing;
    listing.name = std::to_string(i);
    listing.pause_id = long_id(i);
    if (i > 0) listing.parent_pause_id = long_id(i - 1);
    snapshots.push_back(std::move(listing));
  }
  const auto rows = lineage_of(snapshots);
  ASSERT_EQ(rows.size(), snapshots.size());
  EXPECT_EQ(rows.back().depth, snapshots.size() - 1);
}

}  // namespace
}  // namespace lamina
