/* For tests that do many alike things one after the other, without a fake server for each. */
#ifndef QBLK_TESTS_STARVE_CASE_H
#define QBLK_TESTS_STARVE_CASE_H

/* What follows, up to the next time, can be tried by itself with its n-th allocation failing: nothing is open,
 * and none of the library's objects is there that the rest needs. */
void case_begins(void);

#endif
