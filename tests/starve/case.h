/* For tests that do many alike things: what they tell tests/starve, so that it can try each of thousands of
 * allocations. */
#ifndef QBLK_TESTS_STARVE_CASE_H
#define QBLK_TESTS_STARVE_CASE_H

/* What follows, up to the next time or the test's end, can be tried by itself with its n-th allocation
 * failing. A fake QEMU that is started says so too. No socket may be open that is used across it. */
void case_begins(void);

/* Many; but few in a test of which starved runs are made, where their number is no point and each takes its
 * time. */
int case_many(int many, int few);

#endif
