"""Rows of files in any of the formats that tables come in, whatever their dialect; what they mean is not known here."""
