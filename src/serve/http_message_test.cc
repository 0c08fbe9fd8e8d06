// Tests of dates and escapes in heads.
#include "serve/http_message.h"

#include "gtest/gtest.h"

namespace arc::serve {
namespace {

TEST(HttpMessage, WritesDates) {
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");  // RFC 9110's own example
  EXPECT_EQ(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(http_date(951782400), "Tue, 29 Feb 2000 00:00:00 GMT");
}

TEST(HttpMessage, DecodesEscapesAndLeavesTheRest) {
  EXPECT_EQ(percent_decoded("org%2Fmodel%20x"), "org/model x");
  EXPECT_EQ(percent_decoded("%4a%4A"), "JJ");
  EXPECT_EQ(percent_decoded("%"), "%");
  EXPECT_EQ(percent_decoded("%4"), "%4");
  EXPECT_EQ(percent_decoded("%4g%zz%%41"), "%4g%zz%A");
  EXPECT_EQ(percent_decoded("%-1%+1"), "%-1%+1");
}

}  // namespace
}  // namespace arc::serve
