// docs/models.md names every architecture and golden of the tree; ARC_WRITE_DOCS=1 writes it anew.
#include "parity/models_doc.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

#include "base/mapped_file.h"

namespace arc::test {
namespace {

const std::filesystem::path kDocument = std::filesystem::path(ARC_SOURCE_DIR) / "docs" / "models.md";

TEST(ModelsDocTest, IsUpToDateButForMeasuredFigures) {
  if (std::getenv("ARC_WRITE_DOCS") != nullptr) std::ofstream(kDocument) << models_document(true);
  EXPECT_EQ(without_figures(read_text_file(kDocument)), without_figures(models_document(false)))
      << "write docs/models.md anew with ARC_WRITE_DOCS=1";
}

TEST(ModelsDocTest, EveryArchitectureHasAGolden) {
  EXPECT_EQ(models_document(false).find("| none |"), std::string::npos);
}

}  // namespace
}  // namespace arc::test
