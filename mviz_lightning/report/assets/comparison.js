// (written apart)
