"""Everything between the files of a data set and the files of a result."""
