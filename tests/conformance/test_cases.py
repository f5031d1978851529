"""Tests of the list of cases and of the sample."""

from twisted.trial.unittest import SynchronousTestCase

from conformance.cases import ALL_CASES, GROUPS, SAMPLE, SECTIONS, case_key, select


class CasesTests(SynchronousTestCase):
    """`ALL_CASES` is the suite's list."""

    def test_there_are_517_different_cases(self) -> None:
        """The suite has 517 cases and each has its own name."""
        self.assertEqual((len(ALL_CASES), len(set(ALL_CASES))), (517, 517))

    def test_cases_stand_in_the_suites_order(self) -> None:
        """Cases are sorted by number, not by text: 9 before 10, 6.9 before 6.10."""
        self.assertEqual(list(ALL_CASES), sorted(ALL_CASES, key=case_key))
        self.assertEqual((ALL_CASES[0], ALL_CASES[-1]), ("1.1.1", "13.7.18"))

    def test_every_section_has_a_subject(self) -> None:
        """Each case belongs to a section that the tables name, and no section is empty."""
        self.assertEqual({case_key(case)[0] for case in ALL_CASES}, set(SECTIONS))

    def test_a_case_that_is_no_number_has_no_place(self) -> None:
        """A name that is no dotted number cannot be sorted among cases."""
        self.assertRaises(ValueError, case_key, "7.x")


class SelectTests(SynchronousTestCase):
    """`select` turns patterns into cases."""

    def test_a_pattern_takes_whole_sections(self) -> None:
        """A star stands for the rest of the name, and a dot for itself: `1.*` has nothing of 10, 12 or 13."""
        self.assertEqual(
            select(["1.*"]), tuple(f"1.{group}.{number}" for group in (1, 2) for number in range(1, 9))
        )

    def test_a_case_is_itself_alone(self) -> None:
        """A plain case does not take those whose names begin with it."""
        self.assertEqual(select(["2.1"]), ("2.1",))

    def test_cases_come_once_and_in_order(self) -> None:
        """Patterns that overlap give each case once, in the suite's order whatever theirs."""
        self.assertEqual(select(["10.*", "2.10", "2.1*"]), ("2.1", "2.10", "2.11", "10.1.1"))

    def test_a_pattern_without_a_case_is_refused(self) -> None:
        """A pattern that matches nothing is an error that quotes it, never an empty run."""
        error = self.assertRaises(ValueError, select, ["1.*", "11.*"])
        self.assertIn("'11.*' matches no case", str(error))


class SampleTests(SynchronousTestCase):
    """`SAMPLE` is short and leaves no group out."""

    def test_every_case_of_sections_1_to_10_is_there(self) -> None:
        """Only sections 12 and 13 are thinned out."""
        self.assertEqual(
            [case for case in SAMPLE if case_key(case)[0] <= 10],
            [case for case in ALL_CASES if case_key(case)[0] <= 10],
        )

    def test_two_cases_of_every_compression_group(self) -> None:
        """Each group of 12 and 13 gives one unfragmented and one fragmented case."""
        for group in (name for name in GROUPS if case_key(name)[0] >= 12):
            kinds = [case_key(case)[2] > 10 for case in SAMPLE if case.startswith(f"{group}.")]
            self.assertEqual(kinds, [False, True], group)

    def test_every_size_and_fragmentation_is_met(self) -> None:
        """The 18 numbers of a compression group all occur in some group of the sample."""
        numbers = {case_key(case)[2] for case in SAMPLE if case_key(case)[0] >= 12}
        self.assertEqual(numbers, set(range(1, 19)))

    def test_the_sample_consists_of_cases(self) -> None:
        """The sample names existing cases, each once, in the suite's order."""
        self.assertEqual(list(SAMPLE), [case for case in ALL_CASES if case in set(SAMPLE)])
