#include "store/arrival_removal.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "lamina/uuid.h"
#include "os/directory.h"
#include "scratch_directory.h"
#include "store/areas.h"
#include "store/arrival_map.h"
#include "store/open_store.h"

namespace lamina::store {
namespace {

// Page servers would ask for blocks as long as their VMs live, and a damaged block would be waited
// for.
TEST(ArrivalRemoval, WhatAKilledFetcherHasPublishedBecomesWholeForPageServers) {
  const tests::ScratchDirectory scratch;
  std::vector<std::string> notes;
  const auto store = open_store(scratch.path(), notes);
  ASSERT_TRUE(store) << store.error().message;
  const std::string path =
      scratch.file(std::string(kArrivingArea) + "/" + Uuid::random().to_string());
  std::filesystem::create_directories(path);
  const auto directory = os::open_directory(AT_FDCWD, path, path);
  ASSERT_TRUE(directory);
  const auto page_servers = ArrivalMap::make(directory->get(), path, 100, 1);
  ASSERT_TRUE(page_servers) << page_servers.error().message;
  const Status removed = remove_ended_arrivals(*store);
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(page_servers->state(), ArrivalState::kWhole);
}

}  // namespace
}  // namespace lamina::store
