#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "scratch_directory.h"
#include "store/areas.h"
#include "store/arrival.h"
#include "store/arrival_removal.h"
#include "store/once_mark.h"
#include "store/open_store.h"

namespace lamina {
namespace {

TEST(RecoverTest, TheOnlyResumeOfAnArrivingSnapshotStaysConsumed) {
  const tests::ScratchDirectory scratch;
  std::vector<std::string> notes;
  const auto store = store::open_store(scratch.path(), notes);
  ASSERT_TRUE(store) << store.error().message;
  store::ArrivalFacts facts;
  facts.id = Uuid::random();
  facts.belongs_to = store->identity();
  facts.name = "web";
  facts.pause_id = Uuid::random();
  const std::string path =
      scratch.file(std::string(store::kArrivingArea) + "/" + facts.id.to_string());
  std::filesystem::create_directories(path + "/" + store::kArrivalSnapshotName);
  std::ofstream(path + "/" + store::kArrivalFactsName) << store::encode_arrival_facts(facts);
  const auto directory = os::open_directory(AT_FDCWD, path, path);
  ASSERT_TRUE(directory);
  ASSERT_TRUE(store::ArrivalMap::make(directory->get(), path, 100, 1));
  // A resume is under way; else recovery removes what arrives.
  const auto hold = store::hold_arrival(directory->get(), path);
  ASSERT_TRUE(hold) << hold.error().message;
  const Uuid gone = Uuid::random();
  ASSERT_TRUE(store::consume_once(*store, facts.pause_id, "17-4711"));
  ASSERT_TRUE(store::consume_once(*store, gone, "18-4712"));

  RecoverOptions options;
  options.store = scratch.path();
  const auto recovered = recover(options);
  ASSERT_TRUE(recovered) << recovered.error().message;
  EXPECT_TRUE(store::consumed_once(store->fd(), facts.pause_id)->has_value());
  EXPECT_FALSE(store::consumed_once(store->fd(), gone)->has_value()) << "no snapshot of it is left";
}

}  // namespace
}  // namespace lamina
