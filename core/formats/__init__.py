"""Files of other programs, read row by row: generators over streams, which know no database and no job."""
