#include "store/adoption_journal.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "lamina/uuid.h"
#include "scratch_directory.h"
#include "store/open_store.h"
#include "store/pending_area.h"
#include "store/snapshot_directory.h"

namespace lamina::store {
namespace {

class AdoptionJournalTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_store(scratch_.path(), notes_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_.emplace(std::move(*opened));
    journal_.belongs_to = store_->identity();
    journal_.source = "/tmp/a \xff\"\n";
    journal_.layer_name = layer_file_name(Uuid::random());
    journal_.size_bytes = 4097;
    journal_.mode = 0640;
    journal_.user = 7;
    journal_.inode = ~std::uint64_t{0};
    journal_.born_ns = -5;
    journal_.directory_inode = 11;
  }

  [[nodiscard]] std::filesystem::path path() const {
    return pending_path(*store_, journal_name(id_));
  }

  tests::ScratchDirectory scratch_;
  std::vector<std::string> notes_;
  std::optional<Store> store_;
  std::string id_ = Uuid::random().to_string();
  AdoptionJournal journal_;
};

TEST_F(AdoptionJournalTest, SurvivesARoundTripWhateverTheBytesOfThePath) {
  const auto none = read_adoption_journal(*store_, id_);
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  ASSERT_TRUE(write_adoption_journal(*store_, id_, journal_));
  EXPECT_FALSE(write_adoption_journal(*store_, id_, journal_)) << "there is one";
  journal_.copy_inode = 12;
  journal_.copy_born_ns = -6;
  ASSERT_TRUE(replace_adoption_journal(*store_, id_, journal_));
  const auto read = read_adoption_journal(*store_, id_);
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((*read)->source, journal_.source);
  EXPECT_EQ((*read)->layer_name, journal_.layer_name);
  EXPECT_EQ((*read)->size_bytes, journal_.size_bytes);
  EXPECT_EQ((*read)->mode, journal_.mode);
  EXPECT_EQ((*read)->inode, journal_.inode);
  EXPECT_EQ((*read)->born_ns, journal_.born_ns);
  EXPECT_EQ((*read)->copy_born_ns, journal_.copy_born_ns);
  EXPECT_EQ(why_foreign((*read)->belongs_to, store_->identity()), "");
}

TEST_F(AdoptionJournalTest, IncompleteJournalIsEmpty) {
  ASSERT_TRUE(write_adoption_journal(*store_, id_, journal_));
  std::ifstream file(path(), std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // Behind the closing brace there is a line feed only.
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    std::ofstream(path(), std::ios::binary | std::ios::trunc) << text.substr(0, size);
    const auto read = read_adoption_journal(*store_, id_);
    ASSERT_TRUE(read);
    EXPECT_FALSE(*read) << size;
  }
}

TEST_F(AdoptionJournalTest, NamesTheFileAndItsCopy) {
  os::FileFacts facts;
  facts.inode = journal_.inode;
  facts.born_ns = journal_.born_ns;
  EXPECT_TRUE(journal_.is_of(facts));
  facts.born_ns = 1;
  EXPECT_FALSE(journal_.is_of(facts));
  facts.inode = 0;
  facts.born_ns = 0;
  EXPECT_FALSE(journal_.is_of(facts)) << "there is no copy";
  journal_.copy_inode = facts.inode = 12;
  journal_.copy_born_ns = facts.born_ns = 3;
  EXPECT_TRUE(journal_.is_of(facts));
}

}  // namespace
}  // namespace lamina::store
